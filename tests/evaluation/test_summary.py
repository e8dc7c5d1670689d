"""Declared comparisons, means over seeds, overlaps, and the choice of the ticket to ship."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from integer_tickets.blocks import ADOPTED, Evaluate
from integer_tickets.evaluation.answers import BASELINE
from integer_tickets.evaluation.collect import Configuration, Entry, Model, expected, result_rows
from integer_tickets.evaluation.comparisons import BAG_OF_WORDS, FAMILIES, declared
from integer_tickets.evaluation.overlaps import Place, density_rows, load_masks, overlap, overlap_rows, save_masks
from integer_tickets.evaluation.summary import best_final, comparison_rows, summary_rows
from tests.evaluation.fake_study import INT8, fake_params

SETTINGS = Evaluate(bootstrap=200, confidence=0.95, margin=0.01, seed=0)
PARAMS = fake_params({"evaluate": SETTINGS.model_dump()})


def configurations(changes=None):
    found = dict.fromkeys(entry.configuration for entry in expected(fake_params(changes), Path("artifacts")))
    return [*found, BAG_OF_WORDS]


def declared_of(changes=None):
    return declared(configurations(changes), fake_params(changes))


def test_every_declared_question_is_asked():
    found = declared_of()
    assert Counter(comparison.family for comparison in found) == {
        "pruning": 6,  # 2 attentions x 3 levels
        "reinit": 2,
        "shuffled": 2,
        "attention": 10,  # dense and 3 levels; 4 integer networks, 2 distilled
        "quantization": 12,  # 2 attentions x (4 plain + 2 distilled)
        "integer pruning": 4,
        "distillation": 4,
        "bag of words": 6,
    }
    order = list(FAMILIES)
    asked = [order.index(comparison.family) for comparison in found]
    assert asked == sorted(asked)
    pairs = [(comparison.a.name, comparison.b.name) for comparison in found]
    assert len(set(pairs)) == len(pairs)
    assert ("inhibitor int4 ticket level 2 distilled", "inhibitor ticket level 2") in pairs
    assert ("softmax ticket level 2", "softmax shuffled level 2") in pairs
    assert ("inhibitor int8 ticket level 2 distilled", "softmax int8 ticket level 2 distilled") in pairs


def test_the_file_of_an_integer_ticket_is_not_compared_again():
    found = declared_of({"grid": {"variants": ["int8"]}, "variants": {"int8": INT8}})
    pairs = [(c.family, c.a.name, c.b.name) for c in found]
    assert ("pruning", "inhibitor-int8 ticket level 2", "inhibitor-int8 dense") in pairs
    assert not any("int8 int8 ticket" in a and "distilled" not in a for _, a, _ in pairs)


def adopted_params():
    start = {"train": {"start": ADOPTED}, "model": {"post_norm": True}, "teacher": {"pretrained": "some/encoder"}}
    adopt = {"adopt": {"attentions": ["inhibitor", "softmax"]}, "grid": {"variants": ["int4"]}}
    return fake_params(
        {
            **start,
            **adopt,
            "variants": {"int4": INT8 | {"weights": "int4"}},
            "quantize": {"bits": [4]},
            "distill": {"bits": [4]},
        }
    )


def test_networks_of_integers_stand_beside_the_float_one_with_which_they_began():
    params = adopted_params()
    found = declared(dict.fromkeys(entry.configuration for entry in expected(params, Path("artifacts"))), params)
    pairs = [(c.a.name, c.b.name) for c in found if c.family == "quantization"]
    assert pairs == [
        ("inhibitor-int4 dense", "inhibitor adopted"),
        ("softmax-int4 dense", "softmax adopted"),
    ]


def test_the_network_with_which_students_begin_stands_beside_every_seed():
    dense = Configuration("train_dense", "dense", "inhibitor", "int4", 0, "int4")
    start = Configuration("adopt", "adopted", "inhibitor", "", 0, "float")
    right = {dense: {seed: np.array([True, seed > 3, False, False]) for seed in (3, 4)}}
    right[start] = {0: np.array([True, True, True, False])}
    (row,) = comparison_rows(right, "test", adopted_params())
    assert (row["family"], row["seeds"], row["difference"]) == ("quantization", 2, -0.375)


def test_variants_that_differ_in_one_thing_are_compared():
    own = {"weights": "float", "pattern": "weight", "embedding": False, "rewind": 120}
    variants = {"raw": own | {"scope": "raw"}, "start": own | {"scope": "global", "rewind": 0}}
    found = declared_of({"grid": {"variants": ["float", "block", "structure", *variants]}, "variants": variants})
    pairs = Counter((c.family, c.a.variant, c.b.variant) for c in found if c.a.variant != c.b.variant and c.b.variant)
    assert pairs == {
        ("blocks", "block", "float"): 6,  # 2 attentions x 3 levels
        ("structure", "structure", "float"): 6,
        ("scope", "raw", "float"): 6,
        ("rewind", "float", "start"): 6,
    }


def test_a_mask_found_elsewhere_stands_beside_masks_at_random():
    sources = [{"id": "softmax", "attention": "inhibitor", "prefix": "artifacts/ladder/softmax"}]
    levels = [{"level": 2, "segment": "upper"}]
    found = declared_of(
        {"transfer": {"sources": sources, "levels": levels}, "controls": {"kinds": ["shuffled", "random"]}}
    )
    pairs = {(c.family, c.a.name, c.b.name) for c in found if c.family.startswith("transfer")}
    moved = "inhibitor from_softmax level 2"
    assert pairs == {
        ("transfer", "inhibitor ticket level 2", moved),
        ("transferred places", moved, "inhibitor shuffled level 2"),
        ("transferred shares", moved, "inhibitor random level 2"),
    }


def test_what_the_study_lacks_is_not_asked():
    found = declared_of({"grid": {"attentions": ["inhibitor"]}, "controls": {"kinds": ["reinit"]}})
    assert {"attention", "shuffled", "small"}.isdisjoint(comparison.family for comparison in found)


def test_comparisons_are_corrected_within_their_family():
    rng = np.random.default_rng(0)
    known = configurations({"grid": {"attentions": ["inhibitor"]}})
    right = {configuration: dict(enumerate(rng.random((3, 300)) < 0.8)) for configuration in known}
    rows = comparison_rows(right, "test", PARAMS)
    pruning = [row for row in rows if row["family"] == "pruning"]
    smallest = min(pruning, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, len(pruning) * smallest["p"]), rel=1e-3)
    alone = {configuration: right[configuration] for configuration in known if configuration.level in (0, 1)}
    row = next(row for row in comparison_rows(alone, "test", PARAMS) if row["family"] == "pruning")
    same = next(other for other in rows if (other["a"], other["b"]) == (row["a"], row["b"]))
    assert all(row[key] == same[key] for key in ("difference", "low", "high", "p"))  # whatever else is compared


def test_the_same_answers_under_another_name_are_no_further_question():
    known = configurations({"grid": {"attentions": ["inhibitor"]}})
    rng = np.random.default_rng(0)
    right = {configuration: dict(enumerate(rng.random((3, 300)) < 0.8)) for configuration in known}
    before = {(row["a"], row["b"]): row for row in comparison_rows(right, "test", PARAMS)}
    levels = [one for one in known if one.stage == "prune_rewind" and one.level != 2]  # of pruning; level 2 has more
    right[levels[1]] = right[levels[0]]
    after = [row for row in comparison_rows(right, "test", PARAMS) if row["family"] == "pruning"]
    numbers = [[row[key] for key in ("difference", "low", "high", "p", "p_holm")] for row in after]
    assert len(after) == 3 and numbers[0] == numbers[2]
    smallest = min(after, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 2 * smallest["p"]), rel=1e-3)
    assert any(before[row["a"], row["b"]]["p_holm"] != row["p_holm"] for row in after)


def test_models_that_share_no_seed_are_not_compared():
    known = configurations()
    right = {one: {0: np.ones(9, bool)} if one.attention == "softmax" else {1: np.zeros(9, bool)} for one in known}
    right[BAG_OF_WORDS] = {BASELINE: np.ones(9, bool)}
    families = Counter(row["family"] for row in comparison_rows(right, "test", PARAMS))
    assert families["attention"] == 0 and families["pruning"] == 6 and families["bag of words"] == 6


def test_summary_has_mean_and_deviation_over_seeds():
    labels = {"test": np.array([0, 0, 1, 1])}
    predictions = {"test": np.array([[0, 0, 1, 1], [0, 0, 1, 0]])}
    results = [row for p in predictions["test"] for row in result_rows({}, {"test": p}, labels, 2)]
    rows = summary_rows({"name": "x"}, results, predictions, labels, 2, SETTINGS)
    row = next(row for row in rows if row["metric"] == "accuracy")
    assert row["mean"] == 0.875 and row["std"] == pytest.approx(0.176777) and row["seeds"] == 2 and row["n"] == 4
    assert row["low"] <= row["mean"] <= row["high"]
    single = summary_rows({}, results[: len(rows)], {"test": predictions["test"][:1]}, labels, 2, SETTINGS)
    assert all(row["std"] is None for row in single)


def test_overlap_of_masks_by_hand():
    one = {"a": np.array([True, True, False, False]), "b": np.array([True, False])}
    other = {"a": np.array([True, False, True, False]), "b": np.array([True, False])}
    # shared: 1 of layer a and 1 of b, of 3 kept; by chance 2 * 2 / 4 + 1 * 1 / 2
    assert overlap([(one, other)]) == {"pairs": 1, "overlap": 0.666667, "chance": 0.5}
    assert overlap([(one, one), (one, other)])["overlap"] == 0.833333


def test_masks_from_elsewhere_are_compared_with_the_tickets_own(tmp_path):
    one, other = {"a": np.array([True, True, False])}, {"a": np.array([False, True, True])}
    own, moved = Place("inhibitor", "int8", 3), Place("inhibitor", "int8", 3, "sst2")
    save_masks(tmp_path / "masks.npz", {own: {0: one, 1: other}, moved: {0: one, 1: one}})
    rows = list(overlap_rows(load_masks([tmp_path / "masks.npz"])))
    assert [(row["source"], row["pairs"], row["overlap"]) for row in rows] == [("", 1, 0.5), ("sst2", 2, 0.75)]


def test_what_is_kept_is_counted_over_the_layers_of_a_part():
    def masks(query, key, up):
        names = ["layers.0.attention.query.weight", "layers.1.attention.key.weight", "layers.1.up.weight"]
        return dict(zip(names, (np.arange(size) < kept for kept, size in (query, key, up)), strict=True))

    place = Place("softmax", "float", 2)
    rows = list(density_rows({place: {0: masks((1, 4), (5, 12), (1, 3)), 1: masks((2, 4), (2, 12), (2, 3))}}))
    assert [(row["part"], row["density"]) for row in rows] == [("query, key", 0.3125), ("up, down", 0.5)]
    assert all(row["level"] == 2 and row["source"] == "" for row in rows)


def test_the_best_final_ticket_is_chosen_on_selection_then_by_size():
    labels = np.array([0, 1, 1, 0])

    def model(stage, right, bits):
        predictions = np.where(np.arange(4) < right, labels, 1 - labels)
        configuration = Configuration(stage, "ticket", "inhibitor", "float", 2, "int8")
        return Model(Entry(configuration, 0, Path("x")), {}, {"selection": predictions}, bits, [])

    final = [model("quantize", 4, 10), model("distill", 3, 90), model("distill", 3, 80), model("distill", 2, 10)]
    assert best_final(final, labels) is final[2]
    assert best_final(final[:1], labels) is final[0]
