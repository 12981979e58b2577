"""The start of a run, for fine-tuning and pretraining: its directory, checkpoint, log and processes."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ner.runtime import distributed, logs
from ner.training.checkpoint import find_checkpoint
from ner.training.run import Task, restore
from ner.training.run_dir import (
    check_directory,
    check_unchanged,
    clear_directory,
    copy_params,
    only_trainer,
    write_resolved,
)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where and how a run is carried out.  params.json says what is trained."""

    directory: Path
    "gets the results"
    command: str = ""
    "the command line, for the log and resolved.json"
    overrides: Sequence[str] = ()
    "`key=value` each, for keys of params.json"
    seed: int = 2019
    restore: str | None = None
    "checkpoint to go on from: last, best or checkpoints/step-N"
    overwrite: bool = False
    "remove the results of an earlier run first"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"


def lock_directory(settings: RunSettings, locks: contextlib.ExitStack) -> None:
    """Locks the run's directory until `locks` closes; DataError if the run may not start there."""
    if distributed.is_first():
        locks.enter_context(only_trainer(settings.directory))
    check_directory(settings.directory, overwrite=settings.overwrite, restore=settings.restore)


def checkpoint_of(settings: RunSettings) -> Path | None:
    """The verified folder of the checkpoint to go on from, or None; all processes call it."""
    name = settings.restore
    return distributed.from_first(lambda: find_checkpoint(settings.directory, name)) if name else None


def shows_progress() -> bool:
    """True if this process writes its progress to a terminal."""
    return sys.stderr.isatty() and distributed.is_first()


def begin(
    task: Task,
    resolved: dict,
    *,
    checkpoint: Path | None,
    params: Path | None = None,
    old_files: Sequence[str] = (),
) -> None:
    """Restores the checkpoint, or clears the directory for a new run; then opens train.log.

    Called after every other check of the user's input, because only from here on files are removed or
    written.  A new run copies `params` into its directory and removes `old_files` there.
    """
    if checkpoint:
        check_unchanged(task.directory, resolved)
    distributed.barrier()
    if checkpoint:
        restore(task, checkpoint)
    elif distributed.is_first():
        clear_directory(task.directory)
        for name in old_files:
            (task.directory / name).unlink(missing_ok=True)
        if params:
            copy_params(params, task.directory)
        write_resolved(task.directory, resolved)
    if distributed.is_first():
        logs.log_to(task.directory / "train.log")


def share_model(task: Task, model: nn.Module, *, seed: int, some_unused: bool) -> None:
    """Under torchrun, wraps the model for several processes and gives each its own random numbers.

    `some_unused`: a parameter that may learn can be absent from a step.
    """
    if distributed.world_size() > 1:
        task.replicas = distributed.wrap(model, some_unused=some_unused)
        distributed.seed_others(seed, task.progress.step)
