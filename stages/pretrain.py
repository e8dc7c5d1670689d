"""An encoder that has read texts and nothing else: `python -m stages.pretrain PRESET --data DIR --out ENCODER`.

No stage of dvc.yaml: what it leaves is a folder as those of Hugging Face are, to be named as teacher.pretrained, and
its vocab.txt belongs into the folder of the data. DIR holds unlabelled.txt or unlabelled.txt.gz, a text a line. Of the
preset count runtime, the shape, rate, epochs and seed of `teacher`, batch, tokens, warmup and weight_decay of `train`,
size, positions and truncation_side of `tokenizer`, and lessons.words, which cuts texts into sentences.
"""

import argparse
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from integer_tickets.errors import UserError
from integer_tickets.files import replacing
from integer_tickets.params import Params, parse_params
from stages.presets import with_preset
from stages.runner import pin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the texts")
    parser.add_argument("--out", type=Path, required=True, help="a new folder; a run that was stopped goes on")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, as in --set teacher.width=128"
    )
    arguments = parser.parse_args()
    name = arguments.preset
    try:
        params = parse_params(with_preset(name, arguments.set), f"presets/{name}.yaml over params.yaml")
        if params.runtime.processes > 1:
            raise UserError("an encoder is pretrained by one process: runtime.processes = 1")
        pin(params.runtime, pretrained=True)
        pretrain(params, arguments.data, arguments.out)
    except UserError as error:
        raise SystemExit(f"pretrain: {error}") from None


def pretrain(params: Params, data: Path, out: Path) -> None:
    """Write the folder of an encoder from the texts of another folder."""
    import numpy as np  # as all that follows only now that threads and instruction set are pinned

    from integer_tickets.data.augmentation import sentences
    from integer_tickets.data.files import load_lines
    from integer_tickets.training import huggingface, masked
    from stages.folders import history_csv
    from stages.models import ladder_schedule, prepare_torch
    from stages.work import work_folder

    if out.exists():
        raise UserError(f"{out} is there already; name a folder that is not")
    huggingface.transformers()  # says so now where it is missing
    prepare_torch(params)
    texts = load_lines(data)
    train, held = masked.split_texts(sentences(texts, params.lessons.words))
    if len(held) < 2:
        raise UserError(
            f"{data}: {len(texts)} lines in unlabelled.txt or unlabelled.txt.gz, which are {len(train) + len(held)} "
            f"different texts by lessons.words = {params.lessons.words}, expected more than {masked.EVERY}"
        )
    chosen = _chosen(params) | {"texts_sha256": hashlib.sha256("\n".join(train + held).encode()).hexdigest()}
    work = work_folder("pretrain", out.name, chosen, [])
    shape, longest, side = params.teacher, params.tokenizer.positions + 2, params.tokenizer.truncation_side
    pieces = masked.vocabulary(train, params.tokenizer.size)
    own = masked.untrained(shape, pieces, longest, shape.seed, params.runtime.device)
    splits = [masked.with_words(own.encode(part, np.full(len(part), -1), longest, side)) for part in (train, held)]
    if not all(map(len, splits)):
        raise UserError(
            f"{data}: texts without words, as the pieces of tokenizer.size = {params.tokenizer.size} read them"
        )
    print(f"{len(splits[0])} texts of {splits[0].lengths.mean():.1f} tokens, {len(pieces)} pieces", flush=True)
    schedule = replace(ladder_schedule(params, shape.seed), epochs=shape.epochs, lr=shape.lr, purpose="pretrain")
    result = masked.pretrain(own, splits[0], splits[1], schedule, work / "run")
    with replacing(out) as folder:
        own.save(folder)
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
        (folder / "history.csv").write_text(history_csv(result.history), encoding="utf-8")
        (folder / "pretraining.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    shutil.rmtree(work)
    best = result.history[result.epoch - 1]
    print(f"predicts {100 * best['selection_accuracy']:.1f} % of the tokens that are masked: {out}")


def _chosen(params: Params) -> dict[str, Any]:
    """The parameters that count."""
    values = params.model_dump(mode="json")
    named = {
        "runtime": list(values["runtime"]),
        "teacher": ["width", "layers", "heads", "hidden", "dropout", "epochs", "lr", "seed"],
        "train": ["batch", "tokens", "warmup", "weight_decay"],
        "tokenizer": ["size", "positions", "truncation_side"],
        "lessons": ["words"],
    }
    return {block: {name: values[block][name] for name in names} for block, names in named.items()}


if __name__ == "__main__":
    main()
