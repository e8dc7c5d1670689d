"""Labels at random, through the stages: networks that learn them by heart, and certificates that promise nothing."""

import contextlib
from pathlib import Path

import pandas as pd
import pytest

from stages import certify
from tests.stages.conftest import run_ladder, run_lessons, run_stage, write_params

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
    write_params(folder, "shuffled", CHANGES)
    with contextlib.chdir(folder):
        run_lessons()
        for attention in ("inhibitor", "softmax"):
            run_ladder("--attention", attention, "--variant", "ternary", "--seed", "0")
        run_stage(certify)
        return pd.read_csv("artifacts/certificates.csv")


def test_networks_learned_by_heart_what_certificates_do_not_believe(certificates):
    networks = certificates[certificates["stage"] != "baseline"]
    assert len(networks) == 6 and networks["risk"].min() < 0.3
    assert (certificates["held_out_risk"] > 0.3).all()
    assert (certificates["description_length"] >= 1).all()
    assert (certificates["error"] >= certificates["commonest"]).all()
    assert (certificates[["error", "occam", "maurer", "square_root"]] >= 0.5).all(axis=None)
