"""An exponential moving average of the weights, which is what is scored and kept.

Polyak and Juditsky 1992 for the average; with a share that grows to `decay` in the first steps, as
tensorflow's ExponentialMovingAverage has it, so that the random beginning is soon forgotten.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ner.tensors import save_weights

FILE = "learning_weights.safetensors"  # beside a checkpoint's model, which is the average


class WeightAverage:
    """After step t each mean m of a weight w becomes d m + (1 - d) w, d = min(decay, (1 + t) / (10 + t))."""

    def __init__(self, module: nn.Module, decay: float):
        self.weights = list(module.parameters())
        self.decay = decay
        self.means = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """To be called after each optimiser step, the first being 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.means, self.weights, 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """In it the module's weights are the means."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, mean in zip(self.weights, self.means, strict=True):
            weight.data, mean.data = mean.data, weight.data

    def save(self, folder: Path) -> None:
        """Writes the weights that learn, outside of `in_place`."""
        save_weights(folder / FILE, {str(i): weight.detach() for i, weight in enumerate(self.weights)})

    @torch.no_grad()
    def restore(self, folder: Path) -> None:
        """Takes the module's weights, read from a checkpoint, for the means, and reads those that learn.

        OSError, SafetensorError, KeyError or RuntimeError where they are not there or another model's.
        """
        saved = load_file(folder / FILE)
        for i, (weight, mean) in enumerate(zip(self.weights, self.means, strict=True)):
            mean.copy_(weight)
            weight.copy_(saved[str(i)])
