"""Losses of one token's tag: `LOSSES[name](scores (..., K), gold (...) int64) -> (...)`, nats or like them.

They train the softmax and the span head; a run is compared by the cross-entropy of val whatever it was
trained with.
"""

from functools import partial

import torch
import torch.nn.functional as F

FOCUS = 2.0
DICE_ALPHA, DICE_SMOOTHING = 0.01, 1.0


def cross_entropy(scores: torch.Tensor, gold: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """-log p(gold); with `smoothing` the target is 1 - s + s / K at gold and s / K elsewhere.

    Szegedy et al. 2016, section 7.
    """
    return F.cross_entropy(scores.movedim(-1, 1), gold, reduction="none", label_smoothing=smoothing)


def focal(scores: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """-(1 - p)^2 log p of the gold tag: easy tokens, most `O` among them, weigh less (Lin et al. 2017)."""
    log_p = scores.log_softmax(-1).gather(-1, gold[..., None]).squeeze(-1)
    return (1 - log_p.exp()) ** FOCUS * -log_p


def dice(scores: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """The self-adjusting dice loss of Li et al. 2020, summed over the tags.

    1 - (2 w y + s) / (w^2 + y^2 + s) with w = (1 - p)^a p, y being 1 at the gold tag and 0 elsewhere, s = 1.
    The squares are those of Milletari et al. 2016, which the paper's script for MSRA asks for too.  Without
    them every other token pushes a tag down with slope 1 at p = 0, where its gold token pulls with 3/4, and
    a classifier stays with nothing but `O`.  The paper prints a = 1, where the loss of a gold tag is least at
    p = 1/2; its scripts take 0.01, with which it falls to p = 0.99.
    """
    p = scores.softmax(-1)
    y = F.one_hot(gold, scores.shape[-1]).to(p.dtype)
    weighed = (1 - p).clamp_min(1e-6) ** DICE_ALPHA * p  # the power has no finite slope at 0
    ratio = (2 * weighed * y + DICE_SMOOTHING) / (weighed.square() + y + DICE_SMOOTHING)
    return (1 - ratio).sum(-1)


def divergence(scores: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(..., K) twice -> (...): KL(p, q) + KL(q, p), nats, p and q being the softmax of the scores."""
    log_p, log_q = scores.log_softmax(-1), other.log_softmax(-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


LOSSES = {"ce": cross_entropy, "focal": focal, "dice": dice}


def build_loss(name: str, *, label_smoothing: float = 0.0):
    """The loss by its name; label smoothing is one of cross-entropy's."""
    return partial(cross_entropy, smoothing=label_smoothing) if name == "ce" else LOSSES[name]
