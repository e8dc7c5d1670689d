"""The measurement on a GPU: its closed form is the Inhibitor, and without a GPU it says so."""

import pytest
import torch

from integer_tickets.benchmark import gpu
from integer_tickets.model.attention import inhibitor
from integer_tickets.model.triton_kernel import available


def test_cdist_gives_the_inhibitor():
    q, k, v = torch.randn(3, 2, 2, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gamma, delta = torch.tensor([0.3, 0.1], dtype=torch.float64), torch.tensor([0.2, -0.1], dtype=torch.float64)
    torch.testing.assert_close(gpu.by_cdist(q, k, v, gamma, delta), inhibitor(q, k, v, gamma, delta))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(SystemExit, match="no GPU here, nothing measured"):
        gpu.main()
    with pytest.raises(OSError):
        next(gpu.measure())


@pytest.mark.skipif(not torch.cuda.is_available() or available() is not None, reason="no GPU with Triton here")
def test_rows_of_a_measurement():
    rows = list(gpu.measure([(2, 2, 32, 16)]))
    assert [row["attention"].partition(",")[0] for row in rows] == ["Inhibitor"] * 3 + ["softmax"]
    assert all(0 < row["forward_ms"] < row["both_ms"] for row in rows)
    assert all(0 < row["both_of_limit"] < 1 for row in rows[:3])
