"""Exponential moving average of the weights.  Validation and the saved model use the average.

Averaging is due to Polyak and Juditsky 1992.  The decay grows to its final value in the first steps, as in
tensorflow's ExponentialMovingAverage, so that the random initial weights are soon forgotten.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ner.tensors import save_weights

FILE = "learning_weights.safetensors"  # in a checkpoint, whose model.safetensors is the average


class WeightAverage:
    """Mean m of a weight w becomes d m + (1 - d) w after step t, with d = min(decay, (1 + t) / (10 + t))."""

    def __init__(self, module: nn.Module, decay: float):
        self.weights = list(module.parameters())
        self.decay = decay
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
        save_weights(folder / FILE, {str(i): weight.detach() for i, weight in enumerate(self.weights)})

    @torch.no_grad()
    def restore(self, folder: Path) -> None:
        """Copies the module's weights, which a checkpoint's model has just set, into the means.

        Then reads the trained weights into the module.  OSError, SafetensorError, KeyError or RuntimeError if
        their file is missing or belongs to another model.
        """
        saved = load_file(folder / FILE)
        for i, (weight, mean) in enumerate(zip(self.weights, self.means, strict=True)):
            mean.copy_(weight)
            weight.copy_(saved[str(i)])
