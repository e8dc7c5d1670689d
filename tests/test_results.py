"""What the committed results of the default run must show, whatever is changed later."""

import json
from pathlib import Path

REPORTS = Path(__file__).resolve().parent.parent / "reports"


def test_a_bag_of_words_stays_ten_points_below_the_best_model():
    metrics = json.loads((REPORTS / "metrics.json").read_text())
    best = max(value for name, value in metrics.items() if name.endswith("_dense_accuracy"))
    assert best - metrics["tfidf_accuracy"] >= 0.10
    assert metrics["bayes_accuracy"] > best  # and there is something left to learn
