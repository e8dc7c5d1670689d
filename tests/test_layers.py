"""Imports run one way, down the layers of docs/design.md; who only runs a ticket needs none of the upper ones."""

import pytest

from stages.dependencies import PLACES, sources_of

LAYERS = ["integer", "data", "model", "training", "tickets", "benchmark", "evaluation", "information", "report"]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_downwards(layer):
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    folder = PLACES["integer_tickets"] / "integer_tickets" / layer
    for path in sorted(folder.glob("*.py")):
        for source in sources_of(f"integer_tickets.{layer}.{path.stem}"):
            parts = source.split("/")
            if len(parts) > 3:
                assert parts[2] in allowed, f"{path.name} of {layer} reaches {source}"
