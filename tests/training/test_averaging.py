"""The moving average of weights, against its sum written out."""

import contextlib

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from ner.training.averaging import FILE, WeightAverage


def make(n_steps, decay):
    """A module whose weights went through random values, its average, and all those values."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    average = WeightAverage(module, decay)
    seen = [module.weight.detach().clone()]
    for step in range(1, n_steps + 1):
        nn.init.normal_(module.weight)
        seen.append(module.weight.detach().clone())
        average.update(step)
    return module, average, seen


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_equals_its_weighted_sum(decay):
    _, average, seen = make(7, decay)
    decays = [min(decay, (1 + step) / (10 + step)) for step in range(1, 8)]
    expected = torch.zeros(2, 3)
    for step, value in enumerate(seen):
        share = 1.0 if step == 0 else 1 - decays[step - 1]
        for later in decays[step:]:
            share *= later
        expected += share * value
    torch.testing.assert_close(average.means[0], expected)


def test_the_average_is_applied_inside_the_block_only():
    module, average, seen = make(3, 0.9)
    mean = average.means[0].clone()
    with contextlib.suppress(KeyError), average.applied():
        assert torch.equal(module.weight, mean)
        raise KeyError
    assert torch.equal(module.weight, seen[-1])
    assert torch.equal(average.means[0], mean)


def test_weights_and_average_are_restored(tmp_path):
    module, average, seen = make(3, 0.9)
    average.save(tmp_path)
    other, _, _ = make(0, 0.9)
    with average.applied():
        other.load_state_dict(module.state_dict())
    restored = WeightAverage(other, 0.9)
    restored.restore(tmp_path)
    assert torch.equal(other.weight, seen[-1])
    assert all(map(torch.equal, restored.means, average.means))
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(SafetensorError):
        restored.restore(tmp_path)
