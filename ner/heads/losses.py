"""Losses of a sentence's tags: `LOSSES[name](scores (B, T, K), gold (B, T) int64, mask (B, T) bool) -> (B,)`.

Nats or like them, summed over the real tokens; padding has no power.  They train the softmax and the span
head; a run is compared by the cross-entropy of val whatever it was trained with.
"""

from functools import partial

import torch
import torch.nn.functional as F

FOCUS = 2.0
DICE_ALPHA, DICE_SMOOTHING = 0.01, 1.0


def cross_entropy(
    scores: torch.Tensor, gold: torch.Tensor, mask: torch.Tensor, *, smoothing: float = 0.0
) -> torch.Tensor:
    """-log p(gold); with `smoothing` the target is 1 - s + s / K at gold and s / K elsewhere.

    Szegedy et al. 2016, section 7.
    """
    loss = F.cross_entropy(scores.movedim(-1, 1), gold, reduction="none", label_smoothing=smoothing)
    return (loss * mask).sum(1)


def focal(scores: torch.Tensor, gold: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """-(1 - p)^2 log p of the gold tag: easy tokens, most `O` among them, weigh less (Lin et al. 2017)."""
    log_p = scores.log_softmax(-1).gather(-1, gold[..., None]).squeeze(-1)
    return ((1 - log_p.exp()) ** FOCUS * -log_p * mask).sum(1)


def dice(scores: torch.Tensor, gold: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The self-adjusting dice loss of Li et al. 2020 over a sentence, summed over the tags, times its tokens.

    For each tag 1 - (2 sum w y + s) / (sum w^2 + sum y^2 + s) over the tokens, w = (1 - p)^a p, y being 1
    where the tag is gold and 0 elsewhere, s = 1; the squares, and one sum for a whole example, are those of
    Milletari et al. 2016, so that a tag weighs as much as `O` however few tokens have it.  Taken token by
    token, as the paper prints it, the loss has hardly a slope where p is near 0, and a fresh classifier
    stays with nothing but `O`.  The paper prints a = 1 besides, where the loss of a gold tag is least at
    p = 1/2; its code takes 0.01, with which it falls almost to p = 1.
    """
    real = mask[..., None]
    p = scores.softmax(-1) * real
    y = F.one_hot(gold, scores.shape[-1]) * real
    weighed = (1 - p).clamp_min(1e-6) ** DICE_ALPHA * p  # the power has no finite slope at 0
    common, size = (weighed * y).sum(1), weighed.square().sum(1) + y.sum(1)
    ratio = (2 * common + DICE_SMOOTHING) / (size + DICE_SMOOTHING)
    return (1 - ratio).sum(-1) * mask.sum(1)


def divergence(scores: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(..., K) twice -> (...): KL(p, q) + KL(q, p), nats, p and q being the softmax of the scores."""
    log_p, log_q = scores.log_softmax(-1), other.log_softmax(-1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1)


LOSSES = {"ce": cross_entropy, "focal": focal, "dice": dice}


def build_loss(name: str, *, label_smoothing: float = 0.0):
    """The loss by its name; label smoothing is one of cross-entropy's."""
    return partial(cross_entropy, smoothing=label_smoothing) if name == "ce" else LOSSES[name]
