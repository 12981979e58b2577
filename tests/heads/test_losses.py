"""Losses of a token, each against its formula written out in numpy."""

import math

import numpy as np
import pytest
import torch

from ner.heads.base import ClassifierOptions
from ner.heads.losses import LOSSES


def by_hand(name, scores, gold, smoothing=0.0):
    p = np.exp(scores - scores.max())
    p /= p.sum()
    y = np.eye(len(scores))[gold]
    if name == "ce":
        target = (1 - smoothing) * y + smoothing / len(y)
        return -(target * np.log(p)).sum()
    if name == "focal":
        return -((1 - p[gold]) ** 2) * math.log(p[gold])
    w = (1 - p) ** 0.01
    return sum(1 - (2 * w[k] * p[k] * y[k] + 1) / ((w[k] * p[k]) ** 2 + y[k] + 1) for k in range(len(y)))


@pytest.mark.parametrize(("name", "smoothing"), [("ce", 0.0), ("ce", 0.1), ("focal", 0.0), ("dice", 0.0)])
def test_the_formula(name, smoothing):
    generator = torch.Generator().manual_seed(3)
    scores = 3 * torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    gold = torch.randint(5, (2, 4), generator=generator)
    losses = ClassifierOptions(loss=name, label_smoothing=smoothing).criterion(scores, gold)
    assert losses.shape == (2, 4)
    for i in range(2):
        for t in range(4):
            expected = by_hand(name, scores[i, t].numpy(), gold[i, t].item(), smoothing)
            assert losses[i, t].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_falls_as_gold_gets_likelier_and_its_slope_is_finite(name):
    end = 0.99 if name == "dice" else 0.995  # dice has its minimum at 0.992 for three tags
    p = torch.linspace(0.02, end, 60, dtype=torch.float64)
    scores = torch.stack([p, (1 - p) / 2, (1 - p) / 2], dim=-1).log()
    losses = LOSSES[name](scores, torch.zeros(60, dtype=torch.long))
    assert (losses.diff() < 0).all()
    sure = torch.tensor([[80.0, 0.0, -80.0], [-80.0, 0.0, 80.0]], requires_grad=True)
    LOSSES[name](sure, torch.tensor([0, 0])).sum().backward()
    assert sure.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_classifier_that_predicts_only_o_learns_the_entity(name):
    """One of 40 tokens is an entity, and one feature shows it."""
    bias = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    gold, feature = torch.zeros(40, dtype=torch.long), torch.zeros(40, 1, dtype=torch.float64)
    gold[7], feature[7] = 1, 1.0
    optimizer = torch.optim.SGD([bias, weight], lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        LOSSES[name](bias + feature * weight, gold).sum().backward()
        optimizer.step()
    assert (bias + feature * weight).argmax(-1).tolist() == gold.tolist()
