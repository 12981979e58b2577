"""Losses of one token: `LOSSES[name](scores (..., K) float, gold (...) int64) -> (...)`.

Cross-entropy is in nats, the others have no unit.  Validation always reports the cross-entropy.
"""

import torch
import torch.nn.functional as F

FOCUS = 2.0  # gamma of the focal loss
DICE_ALPHA, DICE_SMOOTHING = 0.01, 1.0


def cross_entropy(scores: torch.Tensor, gold: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """-log p(gold); with `smoothing` s against 1 - s + s / K at gold and s / K elsewhere (Szegedy 2016)."""
    return F.cross_entropy(scores.movedim(-1, 1), gold, reduction="none", label_smoothing=smoothing)


def focal(scores: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """-(1 - p)^2 log p of the gold tag: easy tokens, such as most `O`, count less (Lin et al. 2017)."""
    log_p = scores.log_softmax(-1).gather(-1, gold[..., None]).squeeze(-1)
    return (1 - log_p.exp()) ** FOCUS * -log_p


def dice(scores: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """The self-adjusting dice loss of Li et al. 2020, summed over the tags.

    1 - (2 w y + s) / (w^2 + y^2 + s) with w = (1 - p)^a p, s = 1, and y = 1 at the gold tag, 0 elsewhere.
    The squares come from Milletari et al. 2016, and the paper's script for MSRA uses them too; without them
    the classifier predicts nothing but `O`.  The paper prints a = 1, but then the loss of a gold tag is
    smallest at p = 1/2.  Its scripts use a = 0.01, with which the loss falls until p = 0.99.
    """
    p = scores.softmax(-1)
    y = F.one_hot(gold, scores.shape[-1]).to(p.dtype)
    weighed = (1 - p).clamp_min(1e-6) ** DICE_ALPHA * p  # the slope of the power is infinite at 0
    ratio = (2 * weighed * y + DICE_SMOOTHING) / (weighed.square() + y + DICE_SMOOTHING)
    return (1 - ratio).sum(-1)


LOSSES = {"ce": cross_entropy, "focal": focal, "dice": dice}
