"""Losses of a sentence, each against its formula written out in numpy."""

import math

import numpy as np
import pytest
import torch

from ner.heads.losses import LOSSES, build_loss


def by_hand(name, scores, gold, smoothing=0.0):
    """Of one sentence, scores (T, K)."""
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    n_tokens, n_tags = p.shape
    y = np.eye(n_tags)[gold]
    if name == "ce":
        target = (1 - smoothing) * y + smoothing / n_tags
        return -(target * np.log(p)).sum()
    if name == "focal":
        return sum(-((1 - p[t, gold[t]]) ** 2) * math.log(p[t, gold[t]]) for t in range(n_tokens))
    w = (1 - p) ** 0.01 * p
    ratios = (2 * (w * y).sum(0) + 1) / ((w**2).sum(0) + y.sum(0) + 1)
    return n_tokens * (n_tags - ratios.sum())


@pytest.mark.parametrize(("name", "smoothing"), [("ce", 0.0), ("ce", 0.1), ("focal", 0.0), ("dice", 0.0)])
def test_the_formula(name, smoothing):
    generator = torch.Generator().manual_seed(3)
    scores = 3 * torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    gold = torch.randint(5, (2, 4), generator=generator)
    lengths = [4, 2]
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    losses = build_loss(name, label_smoothing=smoothing)(scores, gold, mask)
    assert losses.shape == (2,)
    for i, n_tokens in enumerate(lengths):
        expected = by_hand(name, scores[i, :n_tokens].numpy(), gold[i, :n_tokens].numpy(), smoothing)
        assert losses[i].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_the_surer_of_gold_the_smaller_to_the_end_and_never_without_a_slope(name):
    p = torch.linspace(0.02, 0.98, 60, dtype=torch.float64)
    scores = torch.stack([p, (1 - p) / 2, (1 - p) / 2], dim=-1).log()[:, None]  # 60 sentences of a token
    one = torch.ones(60, 1, dtype=torch.bool)
    losses = LOSSES[name](scores, torch.zeros(60, 1, dtype=torch.long), one)
    assert (losses.diff() < 0).all()
    sure = torch.tensor([[[80.0, 0.0, -80.0]], [[-80.0, 0.0, 80.0]]], requires_grad=True)
    LOSSES[name](sure, torch.tensor([[0], [0]]), one[:2]).sum().backward()
    assert sure.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_classifier_that_says_nothing_but_o_is_drawn_away_from_it(name):
    """One entity token among 40: what pulls at its gold tag must outweigh what the `O`s do to that tag."""
    bias = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    gold = torch.zeros(1, 40, dtype=torch.long)
    gold[0, 7] = 1
    features = torch.zeros(1, 40, 1, dtype=torch.float64)
    features[0, 7] = 1.0  # the one thing by which that token differs
    weight = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([bias, weight], lr=0.05)
    mask = torch.ones(1, 40, dtype=torch.bool)
    for _ in range(500):
        optimizer.zero_grad()
        scores = bias + features @ weight
        LOSSES[name](scores, gold, mask).sum().backward()
        optimizer.step()
    assert scores.argmax(-1).tolist() == gold.tolist()
