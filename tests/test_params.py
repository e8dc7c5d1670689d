"""Parameters: the repository's own are valid, and every fault is one line that names the parameter."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from integer_tickets.blocks import Variant, embedding_bits, own_bits
from integer_tickets.errors import UserError
from integer_tickets.params import load_params, merge, parse_params
from stages.presets import with_preset

ROOT = Path(__file__).parents[1]
VALUES = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
FIXED = {  # the part of them that the faults below depend on
    "grid": {
        "attentions": ["inhibitor", "softmax"],
        "variants": ["float"],
        "segments": [
            {"id": "upper", "previous": "dense", "first": 1, "last": 3},
            {"id": "lower", "previous": "upper", "first": 4, "last": 6},
        ],
    },
    "model": {"width": 64, "heads": 4},
    "teacher": {"heads": 4},
    "controls": {
        "levels": [
            {"level": 2, "segment": "upper", "before": "upper/level_1"},
            {"level": 4, "segment": "lower", "before": "upper/level_3"},
        ]
    },
    "quantize": {"levels": [{"level": 0, "segment": "dense"}, {"level": 4, "segment": "lower"}], "bits": [8, 4]},
    "distill": {"levels": [{"level": 4, "segment": "lower"}], "bits": [8, 4]},
}
INTEGER = {
    "weights": "int4",
    "pattern": "weight",
    "scope": "layerwise",
    "embedding": True,
    "rewind": 0,
    "embedding_bits": 4,
}

STRUCTURE = {"weights": "float", "pattern": "structure", "scope": "global", "embedding": False, "rewind": 0}


def changed(path, value):
    """The repository's values with one of them set; `...` removes it."""
    values = deepcopy(merge(VALUES, FIXED))
    values["variants"] = {"float": values["variants"]["float"]}
    block = values
    *parents, last = path.split(".")
    for part in parents:
        block = block[int(part) if part.isdigit() else part]
    if value is ...:
        del block[last]
    else:
        block[int(last) if last.isdigit() else last] = value
    return values


def refused(values):
    with pytest.raises(UserError) as error:
        parse_params(values)
    message = str(error.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    return message.removeprefix("params.yaml: ")


def test_the_repositorys_parameters_are_valid():
    params = load_params(ROOT / "params.yaml")
    assert params == parse_params(VALUES)
    assert params.model_dump(exclude_none=True) == VALUES
    assert params.grid.levels == VALUES["grid"]["segments"][-1]["last"]


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_valid_over_the_parameters(preset):
    params = parse_params(with_preset(preset.stem, []), preset.name)
    assert params != parse_params(VALUES)
    for part in yaml.safe_load(preset.read_text(encoding="utf-8")).get("parts", {}):
        assert parse_params(with_preset(preset.stem, [], part), f"{preset.name}: {part}").grid.seeds


def test_a_preset_may_differ_from_another_one():
    other, own = with_preset("confirmation", []), with_preset("confirmation_first", [])
    assert own["variants"]["int4"] == {**other["variants"]["int4"], "rewind": 120}
    assert own["train"] == other["train"] and own["grid"]["segments"] == other["grid"]["segments"]


def test_merging_replaces_values_and_lists_and_keeps_the_rest():
    values = {"a": {"x": 1, "y": {"z": [1, 2]}}, "b": 2}
    changes = {"a": {"y": {"z": [3]}}, "c": {"d": 4}}
    assert merge(values, changes) == {"a": {"x": 1, "y": {"z": [3]}}, "b": 2, "c": {"d": 4}}
    assert merge(values, {"a": 5}) == {"a": 5, "b": 2} and merge(values, {}) == values
    assert values == {"a": {"x": 1, "y": {"z": [1, 2]}}, "b": 2}
    assert refused(merge(VALUES, {"train": {"epoch": 3}})).startswith("unknown parameter train.epoch;")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # misspelt
        ("train.epoch", 3, "unknown parameter train.epoch; did you mean epochs?"),
        ("modell", {}, "unknown parameter modell; did you mean model?"),
        ("data.hub.revisoin", "main", "unknown parameter data.hub.revisoin; did you mean revision?"),
        ("variants.float.rewinds", 3, "unknown parameter variants.float.rewinds; did you mean rewind?"),
        ("grid.segments.0.frist", 1, "unknown parameter grid.segments.0.frist; did you mean first?"),
        ("prune.xyz", 1, "unknown parameter prune.xyz; known here: ['keep']"),
        # missing
        ("train.lr", ..., "parameter train.lr is missing"),
        ("variants.float.scope", ..., "parameter variants.float.scope is missing"),
        ("teacher", ..., "parameter teacher is missing"),
        # out of range
        ("prune.keep", 1.0, "prune.keep = 1.0: input should be less than 1"),
        ("prune.keep", 0, "prune.keep = 0: input should be greater than 0"),
        ("train.epochs", 0, "train.epochs = 0: input should be greater than or equal to 1"),
        ("train.lr", float("nan"), "train.lr = nan: input should be a finite number"),
        ("train.lr", float("inf"), "train.lr = inf: input should be a finite number"),
        ("train.warmup", 1.5, "train.warmup = 1.5: input should be less than or equal to 1"),
        ("tokenizer.positions", 256, "tokenizer.positions = 256: input should be less than or equal to 255"),
        ("model.width", 1024, "model.width = 1024: input should be less than or equal to 1020"),
        ("language.bayes_error", 0.7, "language.bayes_error = 0.7: input should be less than"),
        ("grid.seeds", [-1], "grid.seeds.0 = -1: input should be greater than or equal to 0"),
        ("grid.seeds", [], "grid.seeds = []: list should have at least 1 item after validation, not 0"),
        ("data.text", ["a", "b", "c"], "data.text = ['a', 'b', 'c']: list should have at most 2 items"),
        ("quantize.bits", [8, 5], "quantize.bits.1 = 5: input should be 8, 4, 3 or 2"),
        ("runtime.isa", "auto", "runtime.isa = 'auto': input should be 'avx2' or 'native'"),
        ("variants.float.weights", "int5", "variants.float.weights = 'int5': input should be 'float', 'int8'"),
        ("model.heads", 5, "model: width 64 is not a multiple of heads 5"),
        ("teacher.width", 1000, "teacher: a head is 250 wide, at most 128 are possible"),
        # of the wrong type
        ("train.epochs", 2.5, "train.epochs = 2.5: input should be a valid integer"),
        ("train.epochs", "3", "train.epochs = '3': input should be a valid integer"),
        ("train.lr", "1e-3", "train.lr = '1e-3': input should be a valid number"),
        ("model.signed", 1, "model.signed = 1: input should be a valid boolean"),
        ("model.layers", True, "model.layers = True: input should be a valid integer"),
        ("train", 3, "train = 3: input should be a valid dictionary"),
        ("grid.seeds", 3, "grid.seeds = 3: input should be a valid list"),
        ("data.label", None, "data.label = None: input should be a valid string"),
        # at odds with one another
        ("grid.seeds", [0, 1, 0], "grid: [0, 1, 0] names something twice"),
        ("quantize.bits", [8, 8, 4], "quantize.bits: something is named twice"),
        ("controls.kinds", ["reinit", "reinit"], "controls.kinds: something is named twice"),
        ("grid.attentions", ["softmax", "softmax"], "grid: ['softmax', 'softmax'] names something twice"),
        ("grid.variants", ["int9"], "grid.variants names 'int9', but variants has only ['float']"),
        ("grid.segments.1.previous", "dense", "grid: segment 'lower' must follow 'upper' and begin with level 4"),
        ("grid.segments.1.first", 5, "grid: segment 'lower' must follow 'upper' and begin with level 4"),
        ("grid.segments.1.last", 3, "grid: segment 'lower' must follow 'upper' and begin with level 4"),
        ("grid.segments.0.first", 2, "grid: segment 'upper' must follow 'dense' and begin with level 1"),
        ("grid.segments.1.id", "upper", "grid: ['dense', 'upper', 'upper'] names something twice"),
        ("grid.segments.1.id", "dense", "grid: ['dense', 'upper', 'dense'] names something twice"),
        ("grid.segments.1.id", "../x", "grid.segments.1.id = '../x': string should match pattern"),
        ("controls.levels.0.level", 7, "controls.levels: 7, but the ladder ends at level 6"),
        ("quantize.levels.1.level", 9, "quantize.levels: 9, but the ladder ends at level 6"),
        ("quantize.levels.1.segment", "upper", "quantize.levels: level 4 lies in 'lower', not in 'upper'"),
        ("distill.levels.0.segment", "dense", "distill.levels: level 4 lies in 'lower', not in 'dense'"),
        ("distill.levels.0.level", 5, "distill.levels: 5 is not among quantize.levels"),
        ("quantize.levels.0", {"level": 4, "segment": "lower"}, "quantize.levels names a level twice"),
        (
            "controls.levels.0",
            {"level": 0, "segment": "dense", "before": "x"},
            "controls.levels: level 0 is dense and has",
        ),
        (
            "controls.levels.1.before",
            "upper/level_2",
            "controls.levels: the level before level 4 is upper/level_3, not",
        ),
        (
            "connectivity.levels",
            [{"level": 2, "segment": "lower"}],
            "connectivity.levels: level 2 lies in 'upper', not",
        ),
        ("connectivity.points", 2, "connectivity.points = 2: input should be greater than or equal to 3"),
        ("controls.levels.0", 4, "controls.levels.0 = 4: input should be a valid dictionary"),
        ("controls.levels.0.levle", 4, "unknown parameter controls.levels.0.levle; did you mean level?"),
        ("variants.float.embedding_bits", 4, "variants.float: embedding_bits belongs to variants whose weights are"),
        ("variants.float.weights", "int4", "variants.float: embedding_bits belongs to variants whose weights are"),
        (
            "variants.float.pattern",
            "head",
            "variants.float.pattern = 'head': input should be 'weight', 'block' or 'structure'",
        ),
        ("variants.float.pattern", ..., "parameter variants.float.pattern is missing"),
        (
            "variants.float",
            STRUCTURE | {"embedding": True},
            "variants.float: embedding = true, but pattern = structure",
        ),
        ("tokenizer.kind", "pretrained", "tokenizer: vocabulary names a file in data.folder where kind is pretrained"),
        ("tokenizer.vocabulary", "vocab.txt", "tokenizer: vocabulary names a file in data.folder where kind is"),
        ("distill.bits", [8, 2], "distill.bits: 2 is not among quantize.bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_one_line_naming_the_parameter(path, value, message):
    assert refused(changed(path, value)).startswith(message)


@pytest.mark.parametrize("values", [None, [], "grid", 3])
def test_what_holds_no_parameters_is_refused(values):
    assert refused(values).startswith(f"parameters = {values!r}: input should be a valid dictionary")


def test_names_of_variants_are_checked():
    values = changed("variants.Bad Name", INTEGER)
    assert "variants.Bad Name" in refused(values) and "pattern" in refused(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"grid: [1, 2\nmodel: {", "not valid YAML (while parsing a flow sequence"),
        (b"grid:\n\t- 1", "not valid YAML (while scanning for the next token found character '\\t'"),
        (b"\xff\xfe\x00grid", "not valid YAML ("),
        (b"", "parameters = None: input should be a valid dictionary"),
        (b"train: {epochs: 0}", "parameter grid is missing"),
        (b"a: !!python/object:os.system []", "not valid YAML (could not determine a constructor"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_params(path)
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml: no such file; run from the top folder of the project"):
        load_params(tmp_path / "absent.yaml")


def test_parameters_cannot_be_changed():
    params = parse_params(VALUES)
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 7


def test_heads_and_neurons_of_float_and_integer_weights_can_be_pruned():
    for own in ({}, {"weights": "int4", "embedding_bits": 4}):
        params = parse_params(changed("variants.heads", STRUCTURE | own))
        assert params.variants["heads"].pattern == "structure"


def test_integers_are_not_cut_channel_by_channel():
    values = changed("variants.heads", STRUCTURE | {"weights": "int4", "embedding_bits": 4})
    values["grid"]["variants"], values["model"]["per_channel"] = ["heads"], True
    with pytest.raises(
        UserError, match=r"variants.heads: heads, pairs and neurons of integers are cut with model.per_channel"
    ):
        parse_params(values)


@pytest.mark.parametrize(("width", "hidden", "good"), [(32, 64, True), (32, 66, False), (30, 64, False)])
def test_blocks_fit_the_layers(width, hidden, good):
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["model"] |= {"width": width, "hidden": hidden, "heads": 2}
    values["grid"]["variants"] = ["block"]
    if good:
        assert parse_params(values).variants["block"].pattern == "block"
    else:
        with pytest.raises(UserError, match=r"variants.block: pattern = block needs model.width"):
            parse_params(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"teacher": {"pretrained": ""}}, "adopt.attentions: students begin with the weights of a teacher.pretrained"),
        (
            {"model": {"post_norm": False}},
            "model.post_norm = false, but a student of adopt.attentions begins as a bert",
        ),
        ({"model": {"places": False}}, "model.places = false, but a student of adopt.attentions begins as a bert"),
        ({"model": {"biases": False}}, "model.biases = false, but a student of adopt.attentions begins as a bert"),
        ({"adopt": {"attentions": ["softmax"]}}, "train.start = artifacts/adopted, but inhibitor is not among adopt"),
    ],
)
def test_what_begins_as_a_bert_is_made_as_one(changes, message):
    if not message:
        parse_params(merge(with_preset("fitted", [], "int4_0"), changes))
        return
    with pytest.raises(UserError, match=message):
        parse_params(merge(with_preset("fitted", [], "int4_0"), changes))


def test_bits_of_a_variant():
    variant = parse_params(changed("variants.four", INTEGER)).variants["four"]
    assert own_bits(variant, [8, 2]) == [4]
    plain = Variant(weights="float", pattern="weight", scope="global", embedding=False, rewind=0)
    assert own_bits(plain, [8, 2]) == [8, 2]
    quantize = parse_params(VALUES).quantize
    assert (embedding_bits(variant, quantize), embedding_bits(plain, quantize)) == (4, 8)


def test_the_versions_of_the_parameters_are_those_of_the_lock():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line.partition(" ")[0])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name, version in VALUES["runtime"]["versions"].items():
        assert f"{name}=={version}" in makefile if name == "torch" else locked[name] == version


def test_the_width_of_supermasks_matters_where_there_are_some():
    values = merge(VALUES, {"supermask": {"width": 10, "kinds": []}})
    parse_params(values)
    with pytest.raises(UserError, match=r"supermask.width: 10 is not a multiple of model.heads"):
        parse_params(merge(values, {"supermask": {"kinds": ["signs"]}}))
