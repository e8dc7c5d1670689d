"""Stage certify: of every integer network its code length, its errors on train, and what they say of its true error."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from integer_tickets.data.corpus import load_corpus
from integer_tickets.data.statistics import text_columns
from integer_tickets.evaluation.collect import expected, read_model
from integer_tickets.evaluation.summary import columns_of
from integer_tickets.information.certificates import certificate, held_out, losses_of, numbers_of
from integer_tickets.information.symmetry import symmetry_bits
from integer_tickets.information.ticket_code import code_bits
from integer_tickets.integer import artefact
from integer_tickets.integer.engines import engine
from integer_tickets.params import load_params
from stages.evaluate import rounded, write_table
from stages.folders import rows_of

ARTIFACTS = Path("artifacts")


def main() -> None:
    params = load_params()
    corpus = load_corpus(ARTIFACTS / "data")
    splits = {name: split for name, split in corpus.splits.items() if name != "train"}
    counts = {name: len(split) for name, split in splits.items()}
    headline = "test" if "test" in splits else "validation"
    train = corpus.splits["train"]
    sentences, run, own = rows_of(train), engine(), params.certify
    frame = pd.read_parquet(ARTIFACTS / "data" / "train.parquet")
    number = numbers_of(frame[text_columns(frame)[0]].tolist(), own.unit)
    found = []
    for entry in expected(params, ARTIFACTS):
        if entry.configuration.stage not in ("quantize", "distill"):
            continue
        ticket = artefact.load(entry.folder / "ticket.safetensors")
        bits, symmetry = code_bits(ticket.network, ticket.tokenizer), symmetry_bits(ticket.network)
        wrong = run(ticket.network, sentences).argmax(1) != train.labels
        losses = losses_of(wrong, number)
        bound = certificate(losses, len(train), bits.pop("total"), symmetry, own.delta, own.unit)
        model = read_model(entry, counts, len(corpus.labels))
        new = model.predictions[headline] != splits[headline].labels
        seen = {"held_out_n": len(new), "held_out_risk": new.mean(), "held_out_error": held_out(new, own.delta)}
        fixed = columns_of(entry.configuration) | {"seed": entry.seed, "density": model.info["density"]}
        parts = {f"bits_{part}": count for part, count in bits.items()}
        found.append(fixed | {name: rounded(value) for name, value in (asdict(bound) | seen | parts).items()})
    write_table(ARTIFACTS / "certificates.csv", found)
    best = min(found, key=lambda row: float(row["error"]))
    print(f"{len(found)} certificates; the lowest: {best['name']}, error at most {100 * best['error']:.2f} %")
