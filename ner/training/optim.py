"""The optimiser's groups of parameters, schedules of the learning rate, and the moving average of weights."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ner.model.tagger import n_layers_of
from ner.tensors import save_weights


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

    The highest layer that the head sees learns at `learning_rate`, each layer below at `layer_decay` times
    the rate of the layer above (Howard and Ruder 2018, section 3.2, divide by 2.6; Clark et al. 2020 multiply
    by 0.8 to 0.9), and the head's `transitions` at `transition_learning_rate` (None: as the rest of the
    head).  Weight decay applies to matrices alone, as in BERT's own training.  Each group stores its peak
    rate as `peak`.  Parameters that do not require a gradient are left out.
    """
    n_layers, transition_ids = n_layers_of(tagger), set(map(id, transitions))
    groups: dict[tuple[bool, float, bool], list] = {}
    for name, parameter in tagger.named_parameters():
        if not parameter.requires_grad:
            continue
        part, _, inner = name.partition(".")
        if part == "encoder":
            peak = learning_rate * layer_decay ** (n_layers - tagger.encoder.depth_of(inner))
        elif id(parameter) in transition_ids and transition_learning_rate is not None:
            peak = transition_learning_rate
        else:
            peak = head_learning_rate
        key = (part == "encoder", peak, parameter.dim() >= 2)
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


class WeightAverage:
    """Exponential moving average of a module's weights (Polyak and Juditsky 1992).

    Mean m of a weight w becomes d m + (1 - d) w after step t, with d = min(decay, (1 + t) / (10 + t)), as in
    tensorflow's ExponentialMovingAverage: so the random initial weights are soon forgotten.
    """

    FILE = "learning_weights.safetensors"  # in a checkpoint, whose model.safetensors is the average

    def __init__(self, module: nn.Module, decay: float):
        self.weights, self.decay = list(module.parameters()), decay
        self.means = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Updates the means.  Call it after each optimiser step; the first is step 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.means, self.weights, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the module's weights are the means."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, mean in zip(self.weights, self.means, strict=True):
            weight.data, mean.data = mean.data, weight.data

    def save(self, folder: Path) -> None:
        """Writes the trained weights, not the means.  Not inside `applied`."""
        save_weights(folder / self.FILE, {str(i): weight.detach() for i, weight in enumerate(self.weights)})

    @torch.no_grad()
    def restore(self, folder: Path) -> None:
        """Takes the weights that a checkpoint's model has just set as means, then reads the trained weights.

        OSError, SafetensorError, KeyError or RuntimeError if their file is missing or of another model.
        """
        saved = load_file(folder / self.FILE)
        for i, (weight, mean) in enumerate(zip(self.weights, self.means, strict=True)):
            mean.copy_(weight)
            weight.copy_(saved[str(i)])
