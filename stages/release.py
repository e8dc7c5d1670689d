"""Put a ticket into the package, with its model card: `python -m stages.release NAME MODEL --study STUDY --run PART`.

MODEL is its folder as the column `model` of results.csv says; STUDY a preset that was run here (else the default run),
PART what of it was run last, where it has parts.
"""

import argparse
from pathlib import Path

from integer_tickets.errors import UserError
from integer_tickets.files import read_json, write_bytes, write_text
from integer_tickets.integer.artefact import bits_breakdown, load
from integer_tickets.integer.ticket import RELEASED
from integer_tickets.params import Params, load_params, parse_params
from integer_tickets.report.card import Released, card
from integer_tickets.report.study import read_table
from stages.presets import ROOT, whole, with_preset


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.release", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of the ticket: predict --model NAME")
    parser.add_argument("model", help="as in artifacts/integer/inhibitor-int4-0/level_2/int4")
    parser.add_argument("--study", help="the preset whose run has made it (default: the default run)")
    parser.add_argument("--run", help="the part of it that has made it, for the command in the card")
    parser.add_argument("--unlabelled", default="", help="of which corpus its unlabelled texts are, as in data.name")
    parser.add_argument("--out", type=Path, default=RELEASED, help="the folder (default: that of the package)")
    arguments = parser.parse_args()
    try:
        release(**vars(arguments))
    except UserError as error:
        raise SystemExit(f"release: {error}") from None


def release(name: str, model: str, study: str | None, run: str | None, unlabelled: str, out: Path) -> None:
    if study and not run:
        whole(study)  # of one in parts the part must be named
    folder = ROOT / ".study" / study if study else ROOT
    file = folder / model / "ticket.safetensors"
    params = load_params(folder / "params.yaml")
    if study and (what := _other(params, parse_params(with_preset(study, [], run or ""), study))):
        raise UserError(f"{folder}: its {what} is not that of {study}{f' --run {run}' if run else ''}, which ran last?")
    results = read_table(folder / "artifacts" / "evaluation" / "results.csv")
    if model not in set(results["model"]):
        raise UserError(f"{model}: results.csv has no such model; run the whole study")
    statistics = read_json(folder / "artifacts" / "data" / "statistics.json")
    learned = params.train.taught or params.train.adopted or model.startswith("artifacts/distilled")
    more = statistics["lessons"] > params.lessons.augmented and params.data.source != "builtin"
    if learned and more and not unlabelled:
        raise UserError("it learned from unlabelled texts, too: of which corpus, is said with --unlabelled")
    part = f" --run {run}" if run else ""
    ticket = Released(
        name=name,
        model=model,
        command=f"python -m stages.study {study} --data FOLDER{part}" if study else "make repro",
        params=params,
        statistics=statistics,
        results=results,
        bits=bits_breakdown(file),
        sha256=load(file).sha256,
        unlabelled=unlabelled,
    )
    page = card(ticket)
    write_bytes(out / f"{name}.safetensors", file.read_bytes())
    write_text(out / f"{name}.md", page)
    print(f"{out / name}.safetensors, {ticket.bits['total'] / 1e6:.2f} Mbit, and its card {name}.md")


def _other(own: Params, wanted: Params) -> str:
    """A block in which parameters differ, but for where and how fast it ran; nothing where there is none."""
    blocks = (name for name in Params.model_fields if name not in ("runtime", "benchmark"))
    return next((name for name in blocks if getattr(own, name) != getattr(wanted, name)), "")


if __name__ == "__main__":
    main()
