"""Parameter groups, schedules, and the moving average of weights against its sum written out."""

import contextlib
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn

from ner.encoders import ENCODERS
from ner.heads import HEADS
from ner.model.tagger import train_from, unfrozen_depth
from ner.training.optim import (
    SCHEDULES,
    WeightAverage,
    build_optimizer,
    parameter_groups,
    rate_factor,
    set_rates,
)
from tests.factories import make_tagger


def make_groups(tagger, *, learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.1):
    return parameter_groups(
        tagger,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        weight_decay=weight_decay,
    )


def factors(n_steps, warmup, schedule):
    return [rate_factor(i, n_steps=n_steps, warmup=warmup, schedule=schedule) for i in range(n_steps)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("frozen", [False, True])
def test_every_trainable_parameter_is_in_one_group_and_vectors_do_not_decay(encoder, head, frozen):
    tagger = make_tagger(head, encoder)
    if frozen:
        tagger.encoder.requires_grad_(False)
    names = {id(parameter): name for name, parameter in tagger.named_parameters()}
    seen = []
    for group in make_groups(tagger):
        for parameter in group["params"]:
            seen.append(names[id(parameter)])
            of_encoder = seen[-1].startswith("encoder.")
            assert group["peak"] == (1e-3 if of_encoder else 1e-2)
            assert group["weight_decay"] == (0.1 if parameter.dim() >= 2 else 0.0)
    trainable = [name for name, parameter in tagger.named_parameters() if parameter.requires_grad]
    assert sorted(seen) == sorted(trainable)
    assert any(name.startswith("head.") for name in seen)
    assert any(name.startswith("encoder.") for name in seen) != frozen


def test_a_matrix_decays_by_rate_times_decay_and_a_bias_does_not():
    """Decoupled: with a gradient of zero nothing else is left of a step."""
    tagger = make_tagger("crf")
    for parameter in tagger.parameters():
        nn.init.constant_(parameter, 2.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer = build_optimizer(make_groups(tagger))
    set_rates(optimizer, 0.5)
    optimizer.step()
    for name, parameter in tagger.named_parameters():
        peak = 1e-3 if name.startswith("encoder.") else 1e-2
        expected = 2.0 * (1 - 0.5 * peak * 0.1) if parameter.dim() >= 2 else 2.0
        torch.testing.assert_close(
            parameter.detach(), torch.full_like(parameter, expected), rtol=1e-7, atol=0
        )


def test_a_step_before_any_rate_is_set_changes_nothing():
    tagger = make_tagger("crf")
    before = [parameter.detach().clone() for parameter in tagger.parameters()]
    optimizer = build_optimizer(make_groups(tagger))
    for parameter in tagger.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, tagger.parameters(), strict=True))


def test_a_step_follows_adam_with_decoupled_decay():
    """The update written out, Loshchilov and Hutter's algorithm 2."""
    tagger = make_tagger("crf")
    optimizer = build_optimizer(make_groups(tagger, weight_decay=0.01))
    parameter = tagger.head.classifier.weight
    expected, m, v = parameter.detach().clone().double(), 0.0, 0.0
    for step in range(1, 4):
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        parameter.grad = gradient.clone()
        set_rates(optimizer, 1.0 / step)
        optimizer.step()
        rate, gradient = 1e-2 / step, gradient.double()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        update = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-6)
        expected = expected * (1 - rate * 0.01) - rate * update
    torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-7)


def make_deep():
    return make_tagger("crf", num_hidden_layers=3)


def test_rates_fall_with_depth_and_transitions_have_their_own():
    tagger = make_deep()
    groups = parameter_groups(
        tagger,
        learning_rate=1.0,
        head_learning_rate=7.0,
        weight_decay=0.1,
        layer_decay=0.5,
        transitions=tagger.head.transition_parameters(),
        transition_learning_rate=9.0,
    )
    peaks = {id(parameter): group["peak"] for group in groups for parameter in group["params"]}
    by_name = {name: peaks[id(parameter)] for name, parameter in tagger.named_parameters()}
    for name, peak in by_name.items():
        words = {"embeddings": 0.125, "layer.0": 0.25, "layer.1": 0.5, "layer.2": 1.0, "transitions": 9.0}
        assert peak == next((rate for word, rate in words.items() if word in name), 7.0), name
    assert set(by_name.values()) == {0.125, 0.25, 0.5, 1.0, 7.0, 9.0}


@pytest.mark.parametrize("depth", range(5))
def test_what_is_below_the_depth_stays_and_has_no_gradient(depth):
    tagger = make_deep()
    train_from(tagger, depth)
    tagger.encoder(torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool)).sum()
    words = ["embeddings", "layer.0", "layer.1", "layer.2"]
    for name, parameter in tagger.encoder.named_parameters():
        assert parameter.requires_grad == any(word in name for word in words[depth:])
    train_from(tagger, 0)
    assert all(parameter.requires_grad for parameter in tagger.parameters())


def test_layers_join_from_the_top():
    def depths(**options):
        return [unfrozen_depth(epoch, n_layers=3, **options) for epoch in range(6)]

    assert depths(every=1, frozen=0) == [4, 3, 2, 1, 0, 0]
    assert depths(every=2, frozen=0) == [4, 4, 3, 3, 2, 2]
    assert depths(every=1, frozen=2) == [4, 3, 2, 2, 2, 2]
    assert depths(every=0, frozen=1) == [1] * 6


def test_the_linear_schedule_at_known_steps():
    assert factors(10, 0.2, "linear") == pytest.approx([1 / 3, 2 / 3, *(i / 8 for i in range(8, 0, -1))])
    assert factors(4, 0.0, "linear") == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_the_cosine_schedule_at_known_steps():
    half = 0.5**0.5
    assert factors(5, 0.2, "cosine") == pytest.approx([0.5, 1.0, (1 + half) / 2, 0.5, (1 - half) / 2])


def test_the_triangular_schedule_follows_the_paper():
    """Howard and Ruder's formula.  It is compared after the rise, because their rise begins at 0."""
    n, share, ratio = 100, 0.1, 32
    cut = n * share
    ours = factors(n, share, "triangular")
    for t in range(10, n):
        p = 1 - (t - cut) / (cut * (1 / share - 1))
        assert ours[t] == pytest.approx((1 + p * (ratio - 1)) / ratio)


def test_the_constant_schedule_at_known_steps():
    assert factors(5, 0.4, "constant") == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 1.0])


@given(
    n_steps=st.integers(1, 3000),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(sorted(SCHEDULES)),
)
@settings(deadline=None, max_examples=40)
def test_no_step_is_taken_at_rate_0_and_the_rate_rises_then_falls(n_steps, warmup, schedule):
    rates = factors(n_steps, warmup, schedule)
    assert all(0 < rate <= 1 for rate in rates)
    n_warmup = round(warmup * n_steps)
    assert all(a < b for a, b in pairwise(rates[:n_warmup]))
    assert all(a >= b for a, b in pairwise(rates[n_warmup:]))
    if n_warmup < n_steps:
        assert rates[n_warmup] == 1.0


def make_average(n_steps, decay):
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
    _, average, seen = make_average(7, decay)
    decays = [min(decay, (1 + step) / (10 + step)) for step in range(1, 8)]
    expected = torch.zeros(2, 3)
    for step, value in enumerate(seen):
        share = 1.0 if step == 0 else 1 - decays[step - 1]
        for later in decays[step:]:
            share *= later
        expected += share * value
    torch.testing.assert_close(average.means[0], expected)


def test_the_average_is_applied_inside_the_block_only():
    module, average, seen = make_average(3, 0.9)
    mean = average.means[0].clone()
    with contextlib.suppress(KeyError), average.applied():
        assert torch.equal(module.weight, mean)
        raise KeyError
    assert torch.equal(module.weight, seen[-1])
    assert torch.equal(average.means[0], mean)


def test_weights_and_average_are_restored(tmp_path):
    module, average, seen = make_average(3, 0.9)
    average.save(tmp_path)
    other, _, _ = make_average(0, 0.9)
    with average.applied():
        other.load_state_dict(module.state_dict())
    restored = WeightAverage(other, 0.9)
    restored.restore(tmp_path)
    assert torch.equal(other.weight, seen[-1])
    assert all(map(torch.equal, restored.means, average.means))
    (tmp_path / WeightAverage.FILE).write_bytes(b"")
    with pytest.raises(SafetensorError):
        restored.restore(tmp_path)
