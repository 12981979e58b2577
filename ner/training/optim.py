"""Parameter groups of the optimiser, and learning-rate schedules as functions of the step."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from ner.model.tagger import depth_of, n_layers_of


def parameter_groups(
    tagger: nn.Module,
    *,
    learning_rate: float,
    head_learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    transitions: Iterable[nn.Parameter] = (),
    transition_learning_rate: float | None = None,
) -> list[dict]:
    """Returns the groups for AdamW: one for each peak rate, with and without weight decay.

    The highest layer that the head sees learns at `learning_rate`.  Each layer below learns at `layer_decay`
    times the rate of the layer above, and the embeddings slowest (Howard and Ruder 2018, section 3.2, divide
    by 2.6; Clark et al. 2020 multiply by 0.8 to 0.9).  The head's `transitions` learn at
    `transition_learning_rate` (None: as the rest of the head).  Weight decay applies to matrices, not to
    vectors (biases, normalisation), as in BERT's own training.  Each group stores its peak rate as `peak`.
    Parameters that do not require a gradient are left out.
    """
    n_layers, transition_ids = n_layers_of(tagger), set(map(id, transitions))
    groups: dict[tuple[bool, float, bool], list] = {}
    for name, parameter in tagger.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depth_of(tagger, name)
        if depth is not None:
            peak = learning_rate * layer_decay ** (n_layers - depth)
        elif id(parameter) in transition_ids and transition_learning_rate is not None:
            peak = transition_learning_rate
        else:
            peak = head_learning_rate
        key = (depth is not None, peak, parameter.dim() >= 2)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "peak": peak, "lr": 0.0, "weight_decay": weight_decay if decays else 0.0}
        for (_, peak, decays), parameters in groups.items()
    ]


def build_optimizer(groups: list[dict]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) with BERT's epsilon."""
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-6, fused=True)


TRIANGLE_RATIO = 32  # peak rate divided by final rate, Howard and Ruder 2018, section 3.2
# name -> function of the share of the steps after the warm-up that are done, in [0, 1], to the rate's factor
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
    "triangular": lambda done: 1.0 - done * (1.0 - 1.0 / TRIANGLE_RATIO),
}


def rate_factor(step: int, *, n_steps: int, warmup: float, schedule: str = "linear") -> float:
    """Learning rate of optimiser step `step` (from 0) of `n_steps`, as a factor of the peak rate.

    It rises linearly during the first `warmup` share of the steps.  It is never 0 before `n_steps`.
    """
    n_warmup = round(warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    return SCHEDULES[schedule]((step - n_warmup) / max(1, n_steps - n_warmup))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
