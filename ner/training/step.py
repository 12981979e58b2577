"""A model in training: the `Task`, its optimiser steps, and the steps of an epoch of fine-tuning."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ner.data.batches import Batches
from ner.errors import TrainingError
from ner.runtime import distributed
from ner.runtime.program import StopRequest
from ner.training.objectives import Likelihood, Objective
from ner.training.optim import set_rates

T = TypeVar("T")
LIKELIHOOD = Likelihood()
MAX_SKIPPED = 20  # fp16 overflows in a row that stop the run: the scale has fallen from 2^16 to 2^-4


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
    fixed_scale: float = 0.0
    "scale that the scaler keeps; 0: the scaler adapts it"


@dataclass(kw_only=True)
class Task:
    """A model in training, which `ner.training.run` runs: base of `FineTuning` and `Pretraining`.

    A subclass has these methods:

    running()            the context in which all steps are taken, such as a progress bar
    is_over()            True if no step is left
    take_step()          takes the next optimiser step, or finds that the epoch has none left
    must_evaluate()      True if the model is to be measured now, and
    must_save()          True if it is to be saved
    evaluate()           measures the model; returns a line of metrics.jsonl
    report(line)         logs what `evaluate` returned, and begins to count for the next line
    note_best()          True if the evaluated model is the best so far, which the record then says
    before_save()        completes the record, in all processes
    write_model(folder)  and read_model(folder): the model's part of a checkpoint
    describe_position()  where a restored run goes on
    finish()             what follows the last step
    """

    counter: ClassVar[str]
    "key that numbers the lines of metrics.jsonl, and the attribute of `Progress` with the same count"

    directory: Path
    update: Update
    device: torch.device
    replicas: nn.Module | None = None
    "the model wrapped for several devices or processes"
    show_progress: bool = field(default_factory=lambda: sys.stderr.isatty() and distributed.is_first())
    progress: Progress = field(default_factory=Progress)
    record: Any
    "dataclass of what the task itself keeps in a checkpoint"
    stop: StopRequest = field(default_factory=StopRequest)

    def before_save(self) -> None:
        pass


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
               over the whole step, all its batches in all processes
    n_batches  batches of the step in all processes
    check      is called between the backward passes and the update; what it raises leaves the weights alone

    A process without a batch joins the all-reduce of the gradients with one whose loss is multiplied by 0.
    """
    optimizer, scaler = update.optimizer, update.scaler
    optimizer.zero_grad(set_to_none=True)
    for batch in distributed.accumulate(model, batches):
        loss = loss_of(batch) * distributed.world_size()  # gradients are averaged over the processes
        scaler.scale(loss).backward()
    check()
    if update.clip_grad:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), update.clip_grad)
    scaler.step(optimizer)
    scaler.update(update.fixed_scale or None)
    progress.batch += n_batches
    progress.step += 1


def check_finite(loss: float, where: str) -> None:
    """TrainingError if the loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} ({where}); a lower learning_rate may help")


def count_skipped(progress: Progress, update: Update) -> None:
    """With fp16: counts the steps that changed weights; TrainingError if MAX_SKIPPED in a row did not.

    The scaler skips a step if its scaled gradient is not finite, and Adam then does not count it.  Adam's
    count is read at the last parameter, the head's, which learns in every step.
    """
    optimizer = update.optimizer
    state = optimizer.state.get(optimizer.param_groups[-1]["params"][-1], {})
    if not update.scaler.is_enabled() or "step" not in state:  # "step": how many Adam has taken
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


def epoch_steps(
    model: nn.Module,
    loader: Batches,
    update: Update,
    progress: Progress,
    *,
    rate: Callable[[int], float],
    accumulation: int = 1,
    objective: Objective = LIKELIHOOD,
) -> Iterator[bool]:
    """Takes the optimiser steps of epoch `progress.epoch` from `progress.batch` on, and yields after each.

    `model` is the tagger, or its replicas; `rate(step)` the factor of every group's peak rate; `accumulation`
    the batches of each process in one step.  TrainingError if a loss is not finite, or as `count_skipped`.
    """
    model.train()
    device, n_processes = next(model.parameters()).device, distributed.world_size()

    def take_step(batches: Sequence[np.ndarray]) -> None:
        """On the mean loss a token of the batches of all processes."""
        n_tokens = sum(map(loader.n_tokens, batches))
        own = range(distributed.rank(), len(batches), n_processes)
        losses: dict[int, Tensor] = {}

        def loss_of(number: int) -> Tensor:
            loss = objective(model, loader.collate(batches[number]).to(device))
            losses[number] = loss.detach()
            return loss * float(number in own) / n_tokens

        def check() -> None:
            values = [losses[number].item() if number in own else 0.0 for number in range(len(batches))]
            values = distributed.all_sum(values)
            for number, value in enumerate(values, start=progress.batch + 1):
                check_finite(value, f"epoch {progress.epoch + 1}, batch {number}, step {progress.step + 1}")
            count_skipped(progress, update)  # of the steps before: the device has completed them
            progress.loss_sum += sum(values)
            progress.n_tokens += n_tokens

        given = own or [0]  # a process without a batch takes the first, whose loss it multiplies by 0
        optimiser_step(model, given, loss_of, update, progress, n_batches=len(batches), check=check)

    order, n_batches = loader.batch_indices(progress.epoch), accumulation * n_processes
    for first in range(progress.batch, len(order), n_batches):
        set_rates(update.optimizer, rate(progress.step))
        take_step(order[first : first + n_batches])
        yield True
    count_skipped(progress, update)
