"""An encoder that has read texts and nothing else: `python -m stages.pretrain PRESET --data DIR --out ENCODER`.

No stage of dvc.yaml: what it leaves is a folder as those of Hugging Face are, to be named as teacher.pretrained, and
its vocab.txt belongs into the folder of the data. DIR holds unlabelled.txt or unlabelled.txt.gz, a text a line. Of the
preset count runtime, the shape, rate, epochs and seed of `teacher`, batch, tokens, warmup and weight_decay of `train`,
size and positions of `tokenizer`, and lessons.words, which cuts texts into sentences.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import yaml

from integer_tickets.errors import UserError
from integer_tickets.files import write_text
from integer_tickets.params import Params, parse_params
from stages.presets import with_preset
from stages.runner import pin

READ = ("runtime", "teacher", "train", "tokenizer", "lessons")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the texts")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write; a run that was stopped goes on")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter, as in --set teacher.width=128"
    )
    arguments = parser.parse_args()
    try:
        params = parse_params(with_preset(arguments.preset, arguments.set))
        pin(params.runtime)
        pretrain(params, arguments.data, arguments.out)
    except UserError as error:
        raise SystemExit(f"pretrain: {error}") from None


def pretrain(params: Params, data: Path, out: Path) -> None:
    """The folder of an encoder from the texts of another folder."""
    import numpy as np  # only now, as it is pinned

    from integer_tickets.data.augmentation import sentences
    from integer_tickets.data.files import load_lines
    from integer_tickets.training import masked
    from stages.folders import history_csv
    from stages.models import ladder_schedule, prepare_torch

    prepare_torch(params)
    texts = load_lines(data)
    if params.lessons.words:
        texts = list(sentences(texts, *params.lessons.words))
    if len(texts) < 2 * masked.EVERY:
        raise UserError(f"{data}: {len(texts)} texts in unlabelled.txt (or .gz), expected {2 * masked.EVERY} at least")
    train, held = masked.divided(texts)
    shape, longest = params.teacher, params.tokenizer.positions + 2
    pieces = masked.vocabulary(train, params.tokenizer.size)
    own = masked.blank(shape, pieces, longest, shape.seed, params.runtime.device)
    splits = [own.encode(part, np.full(len(part), -1), longest) for part in (train, held)]
    print(f"{len(train)} texts of {splits[0].lengths.mean():.1f} tokens, {len(pieces)} pieces", flush=True)
    schedule = replace(ladder_schedule(params, shape.seed), epochs=shape.epochs, lr=shape.lr, purpose="pretrain")
    work = out.with_name(f"{out.name}.work")
    result = masked.pretrain(own, splits[0], splits[1], schedule, work)
    own.save(out)
    write_text(out / "vocab.txt", "".join(f"{piece}\n" for piece in pieces))
    write_text(out / "history.csv", history_csv(result.history))
    chosen = {name: getattr(params, name).model_dump(mode="json") for name in READ}
    write_text(out / "pretraining.yaml", yaml.safe_dump(chosen, sort_keys=False))
    shutil.rmtree(work)
    best = result.history[result.epoch - 1]
    print(f"guesses {100 * best['selection_accuracy']:.1f} % of the words left out: {out}")


if __name__ == "__main__":
    main()
