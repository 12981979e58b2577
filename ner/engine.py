"""Training and prediction: numbers and spans out.  Knows no files and no command line."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ner.batch import Batch
from ner.data_loader import DataLoader
from ner.model import Tagger
from ner.objectives import Objective, likelihood
from ner.optim import set_rates
from ner.runtime import TrainingError
from ner.tags import ScoredSpan

# called with sentence numbers, the batch on its device, its scores, losses (B,) or None, spans found
OnBatch = Callable[[np.ndarray, Batch, torch.Tensor, torch.Tensor | None, list[list[ScoredSpan]]], None]


@dataclass
class Progress:
    """Where training stands: with weights, optimiser, scaler and random state, all that resuming needs."""

    epoch: int = 0
    "the epoch under way, or next, from 0"
    batch: int = 0
    "batches of it that are done"
    step: int = 0
    "optimiser steps taken"
    loss_sum: float = 0.0
    "of the batches done in this epoch, nats"
    n_tokens: int = 0
    "in the batches done in this epoch"

    @property
    def loss(self) -> float:
        """Mean of the epoch so far, nats a token."""
        return self.loss_sum / max(1, self.n_tokens)

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.loss_sum, self.n_tokens = self.epoch + 1, 0, 0.0, 0


def n_steps_an_epoch(loader: DataLoader, accumulation: int) -> int:
    """Optimiser steps of one epoch; the last may hold fewer batches."""
    return math.ceil(len(loader) / accumulation)


def train_epoch(
    tagger: Tagger,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    rate: Callable[[int], float],
    device: torch.device,
    accumulation: int = 1,
    clip_grad: float = 0.0,
    scaler: torch.amp.GradScaler | None = None,
    fixed_scale: float = 0.0,
    replicas: nn.Module | None = None,
    objective: Objective = likelihood,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Trains from `progress.batch` to the end of the epoch `progress.epoch`.

    `rate(step)` is the factor of every group's peak rate.  An optimiser step takes `accumulation`
    batches; its loss is the sum over all their tokens divided once by their number, so uneven batches
    and shards weigh right.  `replicas` is the tagger wrapped for several devices, `objective` what is
    minimised.

    Raises TrainingError where the loss is not finite.
    """
    model = replicas or tagger
    model.train()
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    batches = loader.batch_indices(progress.epoch)
    for first in range(progress.batch, len(batches), accumulation):
        group = [loader.collate(indices) for indices in batches[first : first + accumulation]]
        n_tokens = sum(batch.n_tokens for batch in group)
        set_rates(optimizer, rate(progress.step))
        optimizer.zero_grad(set_to_none=True)
        loss_sum = 0.0
        for batch in group:
            loss = objective(model, batch.to(device))
            scaler.scale(loss / n_tokens).backward()
            loss_sum += loss.item()
        if not math.isfinite(loss_sum):
            where = f"epoch {progress.epoch + 1}, batch {first + 1}, step {progress.step + 1}"
            raise TrainingError(f"the loss is {loss_sum} ({where}); a lower learning_rate may help")
        if clip_grad:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(tagger.parameters(), clip_grad)
        scaler.step(optimizer)
        scaler.update(fixed_scale or None)
        progress.batch += len(group)
        progress.step += 1
        progress.loss_sum += loss_sum
        progress.n_tokens += n_tokens
        on_step(progress)


@torch.inference_mode()
def predict(
    tagger: Tagger,
    loader: DataLoader,
    *,
    device: torch.device,
    replicas: nn.Module | None = None,
    on_batch: OnBatch = lambda indices, batch, scores, losses, spans: None,
) -> tuple[list[list[ScoredSpan]], float | None]:
    """Spans of every sentence, in the order of the loader's examples, and the loss in nats a token.

    The loss is None where the loader gives no gold.  `on_batch` sees what became of every batch.
    """
    model = replicas or tagger
    model.eval()
    found: list[list[ScoredSpan]] = [[] for _ in range(len(loader.examples))]
    loss_sum, n_tokens = 0.0, 0
    for indices, batch in loader.batches():
        moved = batch.to(device)
        scores, losses = model(moved)
        decoded = tagger.head.decode(scores, moved)
        on_batch(indices, moved, scores, losses, decoded)
        for i, spans in zip(indices, decoded, strict=True):
            found[i] = spans
        if losses is not None:
            loss_sum += losses.sum().item()
            n_tokens += batch.n_tokens
    return found, loss_sum / n_tokens if n_tokens else None
