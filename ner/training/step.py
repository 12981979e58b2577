"""One optimiser step, as fine-tuning and pretraining take it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from ner.errors import TrainingError
from ner.runtime import distributed

T = TypeVar("T")
MAX_SKIPPED = 20  # fp16 may overflow in this many steps in a row; the scale then falls from 2^16 to 2^-4


@dataclass
class Progress:
    """The position of a run.  Weights, optimiser, scaler and random state complete what resuming needs."""

    epoch: int = 0
    "the epoch under way, or next, from 0"
    batch: int = 0
    "batches of this epoch done so far; like all counts below, summed over all processes"
    step: int = 0
    "optimiser steps taken"
    loss_sum: float = 0.0
    "nats, over the batches done in this epoch"
    n_tokens: int = 0
    "in the batches done in this epoch"
    n_taken: int = 0
    "with fp16: steps that changed weights; the others overflowed and were skipped"
    last_taken: int = 0
    "with fp16: the number (`step`) of the last step that changed weights"
    seconds: float = 0.0
    "training time of this epoch so far, over all parts of a resumed run"

    @property
    def loss(self) -> float:
        """Mean loss of the epoch so far, nats a token."""
        return self.loss_sum / max(1, self.n_tokens)

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.n_tokens, self.seconds = 0.0, 0, 0.0


@dataclass(frozen=True)
class Update:
    """How gradients change the weights."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    "scales the loss for fp16; a disabled one changes nothing"
    clip_grad: float = 0.0
    "largest norm of the gradient; 0: no clipping"
    fixed_scale: float = 0.0
    "scale that the scaler keeps; 0: the scaler adapts it"


def optimiser_step(
    model: nn.Module,
    batches: Sequence[T],
    loss_of: Callable[[T], Tensor],
    update: Update,
    progress: Progress,
    *,
    n_batches: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Takes one optimiser step over `batches`, which are those of this process; all processes call it.

    loss_of    runs the model on a batch and returns () float32: the batch's summed loss divided by the count
               over the whole step, all its batches in all processes.  So uneven batches weigh right.
    n_batches  batches of the step in all processes
    check      is called between the backward passes and the update; what it raises leaves the weights alone

    Every process must join the all-reduce of the gradients: one without a batch passes a batch whose loss is
    multiplied by 0.
    """
    optimizer, scaler = update.optimizer, update.scaler

    # forward and backward
    optimizer.zero_grad(set_to_none=True)
    for batch in distributed.accumulate(model, batches):
        loss = loss_of(batch) * distributed.world_size()  # gradients are averaged over the processes
        scaler.scale(loss).backward()

    # check
    check()

    # clip
    if update.clip_grad:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), update.clip_grad)

    # step
    scaler.step(optimizer)
    scaler.update(update.fixed_scale or None)

    # account
    progress.batch += n_batches
    progress.step += 1


def check_finite(loss: float, where: str) -> None:
    """TrainingError if the loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} ({where}); a lower learning_rate may help")


def count_skipped(progress: Progress, update: Update) -> None:
    """With fp16: counts the steps that changed weights; TrainingError if MAX_SKIPPED in a row did not.

    The scaler skips a step if its scaled gradient is not finite in float16, and Adam then does not count it.
    Adam's count is read at the last parameter: it is the head's, which learns in every step, while others
    may be frozen for a time.
    """
    if not update.scaler.is_enabled():
        return
    optimizer = update.optimizer
    state = optimizer.state.get(optimizer.param_groups[-1]["params"][-1], {})
    if "step" not in state:  # no step was taken yet, or the optimiser does not count
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


def describe_skipped(progress: Progress, update: Update) -> str:
    """End of a log line: how many steps were skipped, empty for 0."""
    n_skipped = progress.step - progress.n_taken if update.scaler.is_enabled() else 0
    return f"  {n_skipped} steps skipped as fp16 overflowed" if n_skipped else ""
