"""The optimiser steps of one epoch of fine-tuning."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor, nn

from ner.data.batches import Batches
from ner.runtime import distributed
from ner.training.objectives import Likelihood, Objective
from ner.training.optim import set_rates
from ner.training.step import Progress, Update, check_finite, count_skipped, optimiser_step

LIKELIHOOD = Likelihood()


def n_steps_an_epoch(loader: Batches, accumulation: int) -> int:
    """Optimiser steps of one epoch; the last may hold fewer batches."""
    return math.ceil(len(loader) / (accumulation * distributed.world_size()))


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

    model         the tagger, or its replicas
    rate          `rate(step)` is the factor of every group's peak rate
    accumulation  batches of each process in one step

    TrainingError if a loss is not finite, or if fp16 overflows in step after step.
    """
    model.train()
    batches, n_batches = loader.batch_indices(progress.epoch), accumulation * distributed.world_size()
    for first in range(progress.batch, len(batches), n_batches):
        set_rates(update.optimizer, rate(progress.step))
        tagging_step(model, loader, batches[first : first + n_batches], update, progress, objective=objective)
        yield True
    count_skipped(progress, update)


def tagging_step(
    model: nn.Module,
    loader: Batches,
    batches: Sequence[np.ndarray],
    update: Update,
    progress: Progress,
    *,
    objective: Objective,
) -> None:
    """Takes one optimiser step on the batches of all processes, each given by its sentence numbers.

    The loss is the sum over all tokens of these batches divided by their number.
    """
    device = next(model.parameters()).device
    n_tokens = sum(map(loader.n_tokens, batches))
    own = range(distributed.rank(), len(batches), distributed.world_size())
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
