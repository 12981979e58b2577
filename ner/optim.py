"""The optimiser's groups, and learning-rate schedules as pure functions of the step."""

import math

import torch
from torch import nn


def parameter_groups(
    tagger: nn.Module, *, learning_rate: float, head_learning_rate: float, weight_decay: float
) -> list[dict]:
    """Groups for AdamW: encoder and head, with and without decay.

    Matrices decay; vectors (biases, normalisation) do not, as in BERT's own training.  Each group keeps
    its peak rate as `peak`.  Parameters that do not require a gradient are left out.
    """
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in tagger.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("encoder."), parameter.dim() >= 2)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": learning_rate if of_encoder else head_learning_rate,
            "lr": 0.0,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (of_encoder, decays), parameters in groups.items()
    ]


def build_optimizer(groups: list[dict]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019) with BERT's epsilon."""
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-6, fused=True)


# each takes the share of the way after the warm-up, in [0, 1], and returns the factor of the peak rate
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


def rate_factor(step: int, *, n_steps: int, warmup: float, schedule: str = "linear") -> float:
    """Factor of the peak rate for optimiser step `step` (from 0) of `n_steps`.

    Rises linearly through the first `warmup` share of the steps and is never 0 at a step taken.
    """
    n_warmup = round(warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    return SCHEDULES[schedule]((step - n_warmup) / max(1, n_steps - n_warmup))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
