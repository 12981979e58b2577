"""What a step minimises, against the papers' formulas written out, with the same random numbers."""

import copy
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F

from ner.encoders import ENCODERS, Encoder
from ner.heads import HEADS
from ner.training.objectives import ADVERSARIES, OBJECTIVES, build_objective
from ner.training.params import Config
from tests.factories import make_batch, make_tagger

RECOMPUTING = [name for name, kind in ENCODERS.items() if kind.recompute is not Encoder.recompute]
BOTH = [(head, encoder) for head in HEADS for encoder in ENCODERS]
EACH = [{}, {"rdrop": 4.0}, {"multi_dropout": 3}, {"adversarial": "fgm"}, {"adversarial": "pgd"}]


def set_dropout(tagger, share):
    tagger.train()
    for module in tagger.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
    return tagger


def gradients(tagger, loss):
    tagger.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in tagger.named_parameters() if p.grad is not None}


def objective(**keys):
    return build_objective(asdict(Config(**keys)))


@pytest.mark.parametrize(("head", "encoder"), BOTH)
@pytest.mark.parametrize("keys", [*EACH, {"rdrop": 1.0, "adversarial": "fgm"}], ids=str)
def test_every_objective_over_every_tagger(keys, head, encoder):
    tagger, batch = set_dropout(make_tagger(head, encoder), 0.1), make_batch()
    loss = objective(**keys)(tagger, batch)
    assert loss.shape == ()
    assert loss.isfinite()
    found = gradients(tagger, loss)
    assert found.keys() == {name for name, parameter in tagger.named_parameters()}
    assert not any(module._forward_hooks for module in tagger.modules())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("keys", [{"rdrop": 4.0}, {"multi_dropout": 3}], ids=str)
def test_without_dropout_nothing_is_left_of_it(keys, head):
    tagger, batch = set_dropout(make_tagger(head, "bert"), 0.0), make_batch()
    expected = tagger(batch)[1].sum()
    ours = objective(**keys)(tagger, batch)
    torch.testing.assert_close(ours, expected)
    twin = gradients(tagger, expected)
    for name, gradient in gradients(tagger, ours).items():
        torch.testing.assert_close(gradient, twin[name])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", HEADS)
def test_rdrop_is_the_mean_of_two_losses_and_their_divergence(head):
    tagger, batch = set_dropout(make_tagger(head, "bert"), 0.3), make_batch()
    torch.manual_seed(5)
    ours = objective(rdrop=2.0)(tagger, batch)
    torch.manual_seed(5)
    (p, loss), (q, other) = tagger(batch), tagger(batch)
    log_p, log_q = p[batch.mask].log_softmax(-1), q[batch.mask].log_softmax(-1)
    both = sum(F.kl_div(a, b, log_target=True, reduction="sum") for a, b in ((log_p, log_q), (log_q, log_p)))
    if head == "global_pointer":  # no softmax; tests/heads/test_global_pointer.py has its formula
        both = tagger.head.divergence(p, q, batch).sum()
    assert both > 0.1
    # Liang et al., equation 4, and its half
    torch.testing.assert_close(ours, (loss.sum() + other.sum() + 2.0 / 2 * both) / 2)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", HEADS)
def test_multi_dropout_is_the_mean_over_masks_of_one_encoding(head):
    tagger, batch = set_dropout(make_tagger(head, "bert"), 0.0), make_batch()
    tagger.head.dropout.p = 0.5
    torch.manual_seed(5)
    ours = objective(multi_dropout=4)(tagger, batch)
    torch.manual_seed(5)
    losses = [tagger(batch)[1].sum() for _ in range(4)]
    assert len({loss.item() for loss in losses}) == 4
    torch.testing.assert_close(ours, sum(losses) / 4)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ADVERSARIES)
def test_an_adversary_moves_the_rows_of_the_table(name, head):
    """One row of pieces that are all different: moving what the table returns is moving its rows."""
    tagger = set_dropout(make_tagger(head, "bert"), 0.0)
    batch = make_batch(n_sentences=1, n_windows=1)
    batch = batch._replace(piece_ids=torch.arange(3, 12).view(1, 1, 9), piece_mask=torch.ones(1, 1, 9) > 0)
    n_steps, share, epsilon = OBJECTIVES[name].n_steps, OBJECTIVES[name].step_size, 0.7

    twin = copy.deepcopy(tagger)
    table = twin.encoder.word_embeddings.weight
    origin, move = table.detach().clone(), torch.zeros_like(table)
    clean = now = twin(batch)[1].sum()
    at_origin = gradients(twin, clean)
    for _ in range(n_steps):
        (gradient,) = torch.autograd.grad(twin(batch)[1].sum(), [table])
        move = move + share * epsilon * gradient / gradient.norm()
        move = move * min(1.0, epsilon / move.norm())
        with torch.no_grad():
            table.copy_(origin + move)
    now = twin(batch)[1].sum()
    moved = gradients(twin, now)

    ours = objective(adversarial=name, adversarial_epsilon=epsilon)(tagger, batch)
    assert now > clean
    torch.testing.assert_close(ours, (clean + now) / 2)
    for key, gradient in gradients(tagger, ours).items():
        expected = (at_origin[key] + moved[key]) / 2
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("encoder", RECOMPUTING)
@pytest.mark.parametrize("keys", EACH, ids=str)
def test_layers_computed_again_give_the_same_gradients(keys, encoder, precision):
    tagger, batch = set_dropout(make_tagger("crf", encoder), 0.3), make_batch()
    tagger.precision = precision
    calls, found = [], []
    for layer in tagger.encoder.encoder.layer:
        layer.intermediate.register_forward_pre_hook(lambda module, inputs: calls.append(module))
    for begin in (lambda: None, tagger.encoder.recompute):
        begin()
        torch.manual_seed(1)
        loss = objective(**keys)(tagger, batch)
        n_forward = len(calls)
        found.append((loss, gradients(tagger, loss), len(calls) - n_forward))
        calls.clear()
    (kept_loss, kept, n_kept), (loss, again, n_again) = found
    assert (n_kept, n_again > 0) == (0, True)
    assert loss.item() == kept_loss.item()
    assert again.keys() == kept.keys()
    for name, gradient in again.items():
        torch.testing.assert_close(gradient, kept[name], rtol=1e-5, atol=1e-7)
    tagger.eval()
    assert torch.equal(tagger(batch)[1], tagger(batch)[1])
    assert len(calls) == 2 * len(tagger.encoder.order)
