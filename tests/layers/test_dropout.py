import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ner.layers.dropout import Dropout, dropout
from ner.runtime.devices import random_state, set_random_state

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_dropped_is_p_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    n = 400_000
    y = dropout(torch.ones(n, dtype=dtype), p).double()
    deviation = math.sqrt(p * (1 - p) / n)
    assert abs((y == 0).double().mean() - p) < 5 * deviation
    kept = F.dropout(torch.ones(9, dtype=dtype), p).max()  # torch's own factor, in this dtype
    assert torch.allclose(y[y != 0], kept.double(), rtol=2e-4)


def test_every_place_is_dropped_alone() -> None:
    """No place's mask tells of its neighbour's: four of them come from one draw."""
    torch.manual_seed(1)
    dropped = (dropout(torch.ones(50_000, 8), 0.3) == 0).double()
    assert (torch.corrcoef(dropped.T) - torch.eye(8)).abs().max() < 5 / math.sqrt(len(dropped))


@given(st.lists(st.integers(0, 5), max_size=4), st.booleans())
def test_any_shape_and_order_of_memory(shape: list[int], turned: bool) -> None:
    x = torch.rand(shape) + 1
    x = x.permute([*reversed(range(x.dim()))]) if turned else x
    y = dropout(x, 0.5)
    assert y.shape == x.shape
    assert ((y == 0) | (y == 2 * x)).all()


def test_the_gradient_goes_where_the_values_went() -> None:
    x = torch.rand(40, 30, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    assert torch.allclose(x.grad * x, y)
    assert {0.0} < set(x.grad.unique().tolist())


def test_the_same_state_gives_the_same_mask() -> None:
    x, state = torch.ones(100), random_state()
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    set_random_state(state)
    assert dropout(x, 0.5).equal(first)
    assert not first.equal(second)


def test_nothing_in_evaluation_and_nothing_at_0() -> None:
    x = torch.rand(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert not Dropout(0.5)(x).equal(x)
