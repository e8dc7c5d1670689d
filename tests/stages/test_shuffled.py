"""Labels at random, through the stages: networks that learn them by heart, and certificates that promise nothing."""

import contextlib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from integer_tickets.params import merge
from stages import certify, distill, lessons, prepare, prune_rewind, quantize, teacher, train_dense
from tests.stages.conftest import ROOT, run_stage

CHANGES = {
    "grid": {"seeds": [0], "segments": [{"id": "upper", "previous": "dense", "first": 1, "last": 2}]},
    "variants": {"ternary": {"rewind": 4, "epochs": 30}},
    "language": {"train": 300, "selection": 60, "validation": 60, "test": 60, "unlabelled": 60},
    "model": {"width": 16, "layers": 1, "heads": 2, "hidden": 16},
    "train": {"lr": 0.02},
    "teacher": {"width": 16, "layers": 1, "heads": 2, "hidden": 16, "epochs": 1},
    "quantize": {"levels": [{"level": 0, "segment": "dense"}, {"level": 2, "segment": "upper"}]},
    "distill": {"levels": [{"level": 2, "segment": "upper"}]},
}
"""Over presets/shuffled.yaml: few sentences, which a small network can learn by heart."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder: Path = tmp_path_factory.mktemp("shuffled")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    for changes in (yaml.safe_load((ROOT / "presets" / "shuffled.yaml").read_text()), CHANGES):
        values = merge(values, changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    with contextlib.chdir(folder):
        run_stage(prepare)
        run_stage(teacher)
        run_stage(lessons)
        for attention in ("inhibitor", "softmax"):
            item = ["--attention", attention, "--variant", "ternary", "--seed", "0"]
            run_stage(train_dense, *item)
            run_stage(prune_rewind, *item, "--segment", "upper", "--levels", "1-2")
            run_stage(quantize, *item, "--level", "0")
            run_stage(quantize, *item, "--level", "2")
            run_stage(distill, *item, "--level", "2")
        run_stage(certify)
        return pd.read_csv("artifacts/certificates.csv")


def test_networks_learned_by_heart_what_certificates_do_not_believe(certificates):
    networks = certificates[certificates["stage"] != "baseline"]
    assert len(networks) == 6 and networks["risk"].min() < 0.3
    assert (certificates["held_out_risk"] > 0.3).all()
    assert (certificates["description_length"] >= 1).all()
    assert (certificates["error"] >= certificates["commonest"]).all()
    assert (certificates[["error", "occam", "maurer", "square_root"]] >= 0.5).all(axis=None)
