"""SST-2 tickets beside others by accuracy and bits: `python -m stages.frontier --data DIR`, into reports/frontier.md.

No stage of dvc.yaml: it reads what the studies left. DIR holds train.tsv.gz and validation.tsv.gz, as for `make study`.
"""

import argparse
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from integer_tickets.benchmark import fasttext, static_vectors
from integer_tickets.benchmark.fasttext import Classifier
from integer_tickets.blocks import ADOPTED, LESSONS
from integer_tickets.data.preparation import prepare
from integer_tickets.errors import UserError
from integer_tickets.evaluation.baselines import tfidf
from integer_tickets.files import write_text
from integer_tickets.params import parse_params
from integer_tickets.report.findings import encoder
from integer_tickets.report.frontier import COLUMNS, published, write_page
from stages.presets import ROOT, with_preset

STUDIES = ROOT / "reports" / "studies"
CORPUS, SPLIT = "sst2", "validation"
FILE = ROOT / "reports" / "frontier.csv"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.frontier", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of SST-2")
    parser.add_argument("--static", help="what Model2Vec has made of an encoder: folder, or id on the hub")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that Model2Vec learns the same when it is run again
    absent: dict[str, str] = {}
    try:
        rows = [*tickets(STUDIES), *measured(arguments.data, arguments.static, absent)]
    except UserError as error:
        raise SystemExit(f"frontier: {error}") from None
    frame = pd.concat([pd.DataFrame(rows, columns=COLUMNS), published()], ignore_index=True)
    write_text(FILE, frame.to_csv(index=False, lineterminator="\n"))
    ablated = [study.name for study, _ in on_sst2(STUDIES) if (study / "ablations.csv").exists()]
    write_page(frame, compared(STUDIES), ablated, absent, FILE.with_suffix(".md"))
    print(f"{len(frame)} models: {FILE.with_suffix('.md')}")


def tickets(studies: Path) -> Iterator[dict[str, Any]]:
    """The integer networks of every study on SST-2, in one run or in parts, means over seeds."""
    for study, params in on_sst2(studies):
        summary = pd.read_csv(study / "summary.csv")
        rows = summary[summary["stage"].isin(["quantize", "distill"])]
        for _, row in rows[(rows["split"] == SPLIT) & (rows["metric"] == "accuracy")].iterrows():
            yield {
                "name": row["name"], "kind": "ticket", "attention": row["attention"], "study": study.name,
                "route": route(params, row["stage"]),
                "bits": row["bits"], "accuracy": row["mean"], "low": row["low"], "high": row["high"],
                "seeds": row["seeds"], "split": SPLIT,
            }  # fmt: skip


def kept(studies: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of each study, in one run or in parts, and what its params.yaml, or that of a part, says."""
    for study in sorted(path.parent for path in studies.glob("*/summary.csv")):
        file = next((path for name in ("params.yaml", "runs/*/params.yaml") for path in sorted(study.glob(name))), None)
        if file is None:
            raise UserError(f"{study}: a study without params.yaml; make it again, or remove it")
        yield study, yaml.safe_load(file.read_text(encoding="utf-8"))


def on_sst2(studies: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    return ((study, params) for study, params in kept(studies) if params["data"]["name"] == CORPUS)


def compared(studies: Path) -> pd.DataFrame:
    """Comparisons of students that begin with the weights of an encoder, with the name of their study."""
    adopted = [study for study, params in on_sst2(studies) if begins_with_an_encoder(params)]
    files = [study / "comparisons.csv" for study in adopted if (study / "comparisons.csv").exists()]
    found = [pd.read_csv(file).assign(study=file.parent.name) for file in files]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame({"family": []})


def begins_with_an_encoder(params: dict[str, Any]) -> bool:
    return bool(params["train"].get("start") == ADOPTED)


def route(params: dict[str, Any], stage: str) -> str:
    """Where a study's students begin, and who teaches those of a stage, of its params.yaml."""
    teacher = encoder(params["teacher"].get("pretrained") or "") or "a model trained here"
    if begins_with_an_encoder(params):
        return f"with the weights of {teacher}"
    taught = stage == "distill" or params["train"].get("lessons") == LESSONS
    return f"from scratch, {f'taught by {teacher}' if taught else 'by labels alone'}"


def measured(data: Path, static: str | None, absent: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Other classifiers on the same texts; those that cannot be made here are added to `absent`."""
    frames, _, _ = prepare(parse_params(with_preset(CORPUS, [f"data.folder={data}"])))
    texts = {name: frame["text"].tolist() for name, frame in frames.items() if name != "lessons"}
    labels = {name: frame["label"].to_numpy() for name, frame in frames.items() if name != "lessons"}
    bag = tfidf(texts, labels)
    found: list[tuple[str, int, Any, str]] = [
        (
            "TF-IDF, logistic regression",
            bag.bits or 0,
            bag.predictions[SPLIT],
            f"scikit-learn {version('scikit-learn')}",
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = _made("fastText", "fasttext", fasttext.classifiers(texts, labels, Path(folder)), absent)
    if not made:
        absent.setdefault("fastText", "all settings ran into NaN")
    for own in made:
        found.append((own.name, own.bits, own.predictions[SPLIT], f"fasttext {version('fasttext-numpy2-wheel')}"))
    if static is None:
        absent["Model2Vec"] = "not named with --static"
    else:
        for own in _made("Model2Vec", "model2vec", static_vectors.classifiers(static, texts, labels), absent):
            source = f"model2vec {version('model2vec')}, {Path(static).name}"
            found.append((own.name, own.bits, own.predictions[SPLIT], source))
    for name, bits, says, source in found:
        accuracy = float((says == labels[SPLIT]).mean())
        yield {"name": name, "kind": "measured", "bits": bits, "accuracy": accuracy, "split": SPLIT, "source": source}


def _made(name: str, package: str, classifiers: Iterator[Classifier], absent: dict[str, str]) -> list[Classifier]:
    """All of a peer's; none, and a word in `absent`, where its package is missing."""
    try:
        return list(classifiers)
    except ImportError:
        absent[name] = f"{package} is not installed: pip install 'integer-tickets[frontier]'"
        return []


if __name__ == "__main__":
    main()
