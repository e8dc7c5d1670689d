"""Training on a GPU, where there is one: it learns what the CPU learns, and again the same bits."""

import pytest
import torch

from integer_tickets.training.loop import predict, train
from integer_tickets.training.state import masked
from tests.model.conftest import random_masks
from tests.training.test_loop import SCHEDULE, SELECTION, TRAIN, fresh

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture
def deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("kind", ["inhibitor", "softmax"])
def test_training_on_a_gpu(tmp_path, deterministic, kind, bits):
    found = {}
    for name, device in (("cpu", "cpu"), ("gpu", "cuda"), ("again", "cuda")):
        model, start = fresh(kind, bits=bits, dropout=0.0)
        masks = random_masks(model, 0.5)
        model.to(device)
        result = train(model, masked(start, masks), TRAIN, SELECTION, SCHEDULE, masks, tmp_path / name)
        found[name] = result.weights, predict(model, SELECTION)
    assert all(torch.equal(found["gpu"][0][key], found["again"][0][key]) for key in found["gpu"][0])
    assert (found["gpu"][1].argmax(1) == found["cpu"][1].argmax(1)).mean() > 0.9
