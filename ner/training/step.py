"""One epoch of optimiser steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ner.data.batches import Batches
from ner.errors import TrainingError
from ner.model.tagger import Tagger
from ner.runtime import distributed
from ner.training.objectives import Likelihood, Objective
from ner.training.optim import set_rates

LIKELIHOOD = Likelihood()
MAX_SKIPPED = 20  # steps in a row in which fp16 may overflow; from 2^16 the scale has then sunk to 2^-4


@dataclass
class Progress:
    """Where training stands: with weights, optimiser, scaler and random state, all that resuming needs."""

    epoch: int = 0
    "the epoch under way, or next, from 0"
    batch: int = 0
    "batches of it that are done, by all processes, as all that follows"
    step: int = 0
    "optimiser steps taken"
    loss_sum: float = 0.0
    "of the batches done in this epoch, nats"
    n_tokens: int = 0
    "in the batches done in this epoch"
    n_taken: int = 0
    "with fp16: steps that changed weights; the others overflowed and were skipped"
    last_taken: int = 0
    "with fp16: the last of them, counted as `step`"
    seconds: float = 0.0
    "that this epoch's training has taken, for who counts them"

    @property
    def loss(self) -> float:
        """Mean of the epoch so far, nats a token."""
        return self.loss_sum / max(1, self.n_tokens)

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.n_tokens, self.seconds = 0.0, 0, 0.0


def n_steps_an_epoch(loader: Batches, accumulation: int) -> int:
    """Optimiser steps of one epoch; the last may hold fewer batches."""
    return math.ceil(len(loader) / (accumulation * distributed.world_size()))


def train_epoch(
    tagger: Tagger,
    loader: Batches,
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
    objective: Objective = LIKELIHOOD,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Trains from `progress.batch` to the end of the epoch `progress.epoch`.

    `rate(step)` is the factor of every group's peak rate.  An optimiser step takes `accumulation`
    batches of each process; its loss is the sum over all their tokens divided once by their number, so
    uneven batches and shards weigh right.  `replicas` is the tagger wrapped for several devices,
    `objective` what is minimised.

    Raises TrainingError where the loss is not finite, or fp16 overflows in step after step.
    """
    model = replicas or tagger
    model.train()
    scaler = scaler or torch.amp.GradScaler(device.type, enabled=False)
    batches, n_batches = loader.batch_indices(progress.epoch), accumulation * distributed.world_size()
    for first in range(progress.batch, len(batches), n_batches):
        group = batches[first : first + n_batches]
        n_tokens = sum(map(loader.n_tokens, group))
        set_rates(optimizer, rate(progress.step))
        optimizer.zero_grad(set_to_none=True)
        losses = [0.0] * len(group)
        for number, weight in distributed.accumulate(model, own_batches(len(group))):
            loss = objective(model, loader.collate(group[number]).to(device))
            scaler.scale(loss * weight / n_tokens).backward()
            losses[number] += loss.item() if weight else 0.0
        losses = distributed.all_sum(losses)
        for number, value in enumerate(losses, start=first + 1):
            check_finite(value, f"epoch {progress.epoch + 1}, batch {number}, step {progress.step + 1}")
        if scaler.is_enabled():  # of the steps before: the device has done them
            count_skipped(progress, optimizer)
        if clip_grad:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(tagger.parameters(), clip_grad)
        scaler.step(optimizer)
        scaler.update(fixed_scale or None)
        progress.batch += len(group)
        progress.step += 1
        progress.loss_sum += sum(losses)
        progress.n_tokens += n_tokens
        on_step(progress)
    if scaler.is_enabled():
        count_skipped(progress, optimizer)


def own_batches(n_batches: int) -> list[tuple[int, float]]:
    """Numbers of this process's batches among those of a step, each with the weight of its loss.

    A weight is the number of processes, over which gradients are averaged.  All must take part in that, so
    one that has no batch gets the step's first, with a weight of 0.
    """
    n_processes = distributed.world_size()
    own = range(distributed.rank(), n_batches, n_processes)
    return [(number, float(n_processes)) for number in own] or [(0, 0.0)]


def check_finite(loss: float, where: str) -> None:
    """TrainingError where a loss is not a number to go on with."""
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} ({where}); a lower learning_rate may help")


def count_skipped(progress: Progress, optimizer: torch.optim.Optimizer) -> None:
    """Notes how many steps so far were not skipped; TrainingError where they were MAX_SKIPPED in a row.

    A step is skipped where its scaled gradient is not finite in float16; Adam then does not count it.  The
    last parameter is the head's, which learns in every step; others may be frozen for a time.
    """
    state = optimizer.state.get(optimizer.param_groups[-1]["params"][-1], {})
    if "step" not in state:  # not one step taken, or an optimiser that does not count
        return
    n_taken = int(state["step"])
    if n_taken > progress.n_taken:
        progress.n_taken, progress.last_taken = n_taken, progress.step
    n_in_a_row = progress.step - progress.last_taken
    if n_in_a_row >= MAX_SKIPPED:
        raise TrainingError(
            f"fp16 overflowed in {n_in_a_row} steps in a row (epoch {progress.epoch + 1}, batch "
            f"{progress.batch}, step {progress.step}); --bf16 has a wider range"
        )


def skipped_steps(progress: Progress, scaler: torch.amp.GradScaler) -> str:
    """What a line of the log says of them."""
    n_skipped = progress.step - progress.n_taken if scaler.is_enabled() else 0
    return f"  {n_skipped} steps skipped as fp16 overflowed" if n_skipped else ""
