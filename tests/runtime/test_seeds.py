"""Seeds and random states."""

import pytest
import torch

from ner.errors import DataError
from ner.runtime.seeds import check_seed, random_state, set_random_state, set_seed


@pytest.fixture(autouse=True)
def same_random_state():
    """Leaves torch's random numbers as they were."""
    state = random_state()
    yield
    set_random_state(state)


def test_a_seed_repeats_the_random_numbers():
    set_seed(3)
    first = torch.rand(4)
    assert not torch.equal(torch.rand(4), first)
    set_seed(3)
    assert torch.equal(torch.rand(4), first)


def test_a_state_repeats_the_random_numbers_and_ignores_missing_gpus():
    state = random_state() | {"cuda99": torch.zeros(16, dtype=torch.uint8)}
    first = torch.rand(4)
    set_random_state(state)
    assert torch.equal(torch.rand(4), first)
    assert all(tensor.dtype == torch.uint8 for tensor in state.values())


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(DataError, match=f"--seed {seed}: expected 0 to {2**63 - 1}"):
        check_seed(seed)
    check_seed(2**63 - 1)
