import itertools

import pytest
import torch
from torchcrf import CRF

from ner.heads import log_partition as sums_module
from ner.heads.crf import path_scores
from ner.heads.log_partition import (
    MAX_TRANSITION_SPREAD,
    are_scalable,
    log_partition,
    plain_log_partition,
    scan,
    stepwise,
)


def make(n_sentences, n_tokens, n_tags, *, seed=0, scale=1.0):
    """A pytorch-crf in float64, emissions, a mask of every length, gold tags."""
    generator = torch.Generator().manual_seed(seed)
    crf = CRF(n_tags, batch_first=True).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    emissions = scale * torch.randn(n_sentences, n_tokens, n_tags, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, n_tokens + 1, (n_sentences, 1), generator=generator)
    lengths[0] = n_tokens
    mask = torch.arange(n_tokens) < lengths
    tags = torch.randint(n_tags, (n_sentences, n_tokens), generator=generator)
    return crf, emissions.requires_grad_(), mask, tags


def learned(crf):
    return crf.transitions, crf.start_transitions, crf.end_transitions


def losses(crf, emissions, mask, tags):
    paths = path_scores(emissions, tags, mask, *learned(crf))
    return log_partition(emissions, mask, *learned(crf)) - paths


@pytest.mark.parametrize("function", [plain_log_partition, log_partition])
def test_is_the_sum_over_all_paths(function):
    crf, emissions, mask, _ = make(3, 4, 3)
    found = function(emissions, mask, *learned(crf))
    transitions, start, end = (x.tolist() for x in learned(crf))
    for row, length in enumerate(mask.sum(1).tolist()):
        scores = []
        for path in itertools.product(range(3), repeat=length):
            score = start[path[0]] + end[path[-1]]
            score += sum(emissions[row, t, tag].item() for t, tag in enumerate(path))
            score += sum(transitions[i][j] for i, j in itertools.pairwise(path))
            scores.append(score)
        expected = torch.tensor(scores, dtype=torch.float64).logsumexp(0)
        assert found[row].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(("n_tokens", "n_tags"), [(1, 4), (2, 1), (17, 7)])
def test_the_fast_sums_equal_the_definition(n_tokens, n_tags):
    crf, emissions, mask, _ = make(4, n_tokens, n_tags)
    wanted = [emissions, *learned(crf)]
    fast, plain = (
        function(emissions, mask, *learned(crf)) for function in (log_partition, plain_log_partition)
    )
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(z.sum(), wanted, materialize_grads=True) for z in (fast, plain))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sums", [stepwise, scan])
@pytest.mark.parametrize(
    ("n_tokens", "n_tags", "scale"),
    [(1, 5, 1.0), (2, 1, 1.0), (9, 7, 1.0), (40, 25, 1.0), (2427, 3, 1.0), (12, 7, 100.0), (12, 7, 1e4)],
)
def test_loss_and_gradients_equal_pytorch_crf(n_tokens, n_tags, scale, sums, monkeypatch):
    monkeypatch.setattr(sums_module, "stepwise", sums)
    crf, emissions, mask, tags = make(3, n_tokens, n_tags, scale=scale)
    weights = torch.tensor([1.0, 0.5, -2.0], dtype=torch.float64)
    wanted = [emissions, *crf.parameters()]
    expected = -crf(emissions, tags, mask=mask, reduction="none")
    found = losses(crf, emissions, mask, tags)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-8)
    of_expected = torch.autograd.grad(expected @ weights, wanted, materialize_grads=True)
    of_found = torch.autograd.grad(found @ weights, wanted)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_padding_changes_neither_loss_nor_gradients():
    crf, emissions, mask, tags = make(4, 6, 3)
    other = emissions.detach().where(mask[..., None], 1e6).requires_grad_()
    torch.testing.assert_close(losses(crf, other, mask, tags), losses(crf, emissions, mask, tags))
    losses(crf, other, mask, tags).sum().backward()
    assert (other.grad[~mask] == 0).all()
    assert other.grad.isfinite().all()


def test_gradients_have_the_dtypes_of_their_tensors():
    crf, emissions, mask, tags = make(2, 5, 3)
    crf, emissions = crf.float(), emissions.detach().bfloat16().requires_grad_()
    losses(crf, emissions, mask, tags).sum().backward()
    assert emissions.grad.dtype == torch.bfloat16
    assert {p.grad.dtype for p in crf.parameters()} == {torch.float32}


@pytest.mark.parametrize("far", [0.0, MAX_TRANSITION_SPREAD / 2])
def test_a_scan_is_as_exact_as_steps_for_scalable_transitions(far):
    """With very peaked emissions, for numbers of tokens around powers of two."""
    for n_tokens in (1, 2, 3, 4, 5, 8, 9, 31, 32, 33):
        generator = torch.Generator().manual_seed(n_tokens)
        steps = 1e3 * torch.randn(n_tokens, 2, 3, 4, generator=generator, dtype=torch.float64)
        edges = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64)
        inner = far * torch.randint(-1, 2, (2, 4, 4), generator=generator).double()
        torch.testing.assert_close(
            scan(steps, edges, inner), stepwise(steps, edges, inner), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("far", [MAX_TRANSITION_SPREAD - 1, -MAX_TRANSITION_SPREAD, -10_000.0, 1e6])
def test_transitions_far_apart_have_the_loss_of_pytorch_crf(far):
    crf, emissions, mask, tags = make(3, 7, 4)
    assert are_scalable(*learned(crf))
    crf.transitions.data[0, 1] = crf.end_transitions.data[2] = far
    assert not are_scalable(*learned(crf))
    wanted = [emissions, *crf.parameters()]
    expected, found = -crf(emissions, tags, mask=mask, reduction="none"), losses(crf, emissions, mask, tags)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-8)
    pairs = (torch.autograd.grad(loss.sum(), wanted) for loss in (found, expected))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("far", [-torch.inf, torch.inf, torch.nan])
def test_transitions_that_are_not_finite_take_the_plain_sums(far):
    crf, emissions, mask, tags = make(3, 7, 4)
    crf.transitions.data[0, 1] = far
    assert not are_scalable(*learned(crf))
    expected = -crf(emissions, tags, mask=mask, reduction="none")
    found = losses(crf, emissions, mask, tags)
    torch.testing.assert_close(found, expected, equal_nan=True)
