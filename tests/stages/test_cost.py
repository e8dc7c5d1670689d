"""What a run says of its cost before it starts."""

import io
import re
import sys

import pytest

from integer_tickets.params import load_params, merge, parse_params
from stages import cost
from tests.stages.conftest import ROOT

INT8 = {
    **{"weights": "int8", "pattern": "weight", "scope": "global", "embedding": False, "rewind": 4},
    **{"embedding_bits": 8, "epochs": 5},
}
ITEM = "--attention inhibitor --variant {} --seed 0"


@pytest.fixture
def params():
    values = load_params(ROOT / "params.yaml").model_dump()
    small = {
        "adopt": {"before": 2},
        "model": {"width": 8, "heads": 2, "layers": 1, "hidden": 8},
        "train": {"batch": 8, "epochs": 3},
    }
    return parse_params(merge(values, {**small, "variants": {"int8": INT8}, "grid": {"variants": ["float", "int8"]}}))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("exec python -m stages prepare", []),
        ("exec $LAUNCH python -m stages teacher", [("softmax", "float", 1, 6)]),
        (
            "exec $LAUNCH python -m stages supermask --attention softmax --kind signs --seed 0",
            [("softmax", "ternary", 1, 6)],
        ),
        (
            "exec $LAUNCH python -m stages adopt --attention inhibitor",
            [("softmax", "float", 1, 2), ("inhibitor", "float", 1, 1)],
        ),
        (f"exec $LAUNCH python -m stages train_dense {ITEM.format('float')}", [("inhibitor", "float", 1, 3)]),
        (f"exec $LAUNCH python -m stages train_dense {ITEM.format('int8')}", [("inhibitor", "int8", 1, 5)]),
        (
            f"exec $LAUNCH python -m stages prune_rewind {ITEM.format('int8')} --segment upper --levels 1-3",
            [("inhibitor", "int8", 3, 15)],
        ),
        (
            f"exec $LAUNCH python -m stages controls {ITEM.format('float')} --level 4 --kind small",
            [("inhibitor", "float", 1, 3)],
        ),
        (
            f"exec $LAUNCH python -m stages controls {ITEM.format('float')} --level 4 --kind longer",
            [("inhibitor", "float", 1, 15)],
        ),
        (
            f"exec $LAUNCH python -m stages quantize {ITEM.format('float')} --level 4",
            [("inhibitor", "int8", 1, 1), ("inhibitor", "int4", 1, 1)],
        ),
        (f"exec $LAUNCH python -m stages quantize {ITEM.format('int8')} --level 4", []),
        (f"exec $LAUNCH python -m stages distill {ITEM.format('int8')} --level 4", [("inhibitor", "int8", 1, 1)]),
    ],
)
def test_trainings_of_an_item(params, command, expected):
    found = [(work.attention, work.weights, work.trainings, work.passes) for work in cost.work_of(command, params)]
    assert found == expected


def test_it_is_said_in_one_line(params, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "load_params", lambda: params)
    monkeypatch.setattr(sys, "argv", ["cost", "2"])
    commands = [f"exec python -m stages train_dense {ITEM.format(name)}" for name in ("float", "int8")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(commands)))
    cost.main()
    said = capsys.readouterr().out
    end = "less where the cache has some"
    assert re.fullmatch(rf"2 trainings, 8 passes over the train text, about \d+ minutes?, {end}\n", said)
    monkeypatch.setattr(sys, "stdin", io.StringIO("exec python -m stages prepare\n"))
    cost.main()
    assert capsys.readouterr().out == ""
