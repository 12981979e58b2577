"""A run of fine-tuning or pretraining: its settings, its start, and the loop over optimiser steps.

The methods of a `Task` say when to evaluate, when to save and what to measure; the loop handles signals,
checkpoints and metrics.jsonl.
"""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ner.config import to_json
from ner.errors import Stopped
from ner.files import add_file_name, whole_file
from ner.runtime import distributed
from ner.runtime.logs import log, log_to
from ner.training import run_dir
from ner.training.checkpoint import find_checkpoint, restore_checkpoint, save_checkpoint
from ner.training.step import Task


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where and how a run is carried out.  params.json says what is trained."""

    directory: Path
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
        locks.enter_context(run_dir.only_trainer(settings.directory))
    run_dir.check_directory(settings.directory, overwrite=settings.overwrite, restore=settings.restore)


def checkpoint_of(settings: RunSettings) -> Path | None:
    """The verified folder of the checkpoint to go on from, or None; all processes call it."""
    name = settings.restore
    return distributed.from_first(lambda: find_checkpoint(settings.directory, name)) if name else None


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
    written.  A new run copies `params` into its directory, removes `old_files` there, and writes `resolved`,
    its options and what was derived from them.
    """
    directory = task.directory
    if checkpoint:
        run_dir.check_unchanged(directory, resolved)
    distributed.barrier()
    if checkpoint:
        restore(task, checkpoint)
    elif distributed.is_first():
        run_dir.clear_directory(directory)
        for name in old_files:
            (directory / name).unlink(missing_ok=True)
        if params and params.parent != directory:
            shutil.copyfile(params, directory / "params.json")
        path = directory / "resolved.json"
        with add_file_name(path), whole_file(path) as file:
            file.write(to_json(resolved))
    if distributed.is_first():
        log_to(directory / "train.log")


def share_model(task: Task, model: nn.Module, *, seed: int, some_unused: bool) -> None:
    """Under torchrun, wraps the model (`distributed.wrap`) and gives each process its own dropout."""
    if distributed.world_size() > 1:
        task.replicas = distributed.wrap(model, some_unused=some_unused)
        distributed.seed_others(seed, task.progress.step)


def restore(task: Task, folder: Path) -> None:
    """Goes back to a checkpoint that `find_checkpoint` found; all processes call it."""
    restore_checkpoint(task, folder)
    if distributed.is_first():
        n_done = getattr(task.progress, task.counter)
        run_dir.truncate_metrics(task.directory, lambda line: line[task.counter] <= n_done)
    log.info(f"restored {folder}: {task.describe_position()}")


def run(task: Task, after_evaluation: Callable[[], None] = lambda: None) -> None:
    """Trains until the task is over; all processes call it.  Stopped after a signal, with all saved.

    `after_evaluation` is called when an evaluated model is saved; an exception from it ends the run.
    """
    progress = task.progress
    saved_step = progress.step
    with task.stop, task.running():
        while not task.is_over():
            number = int(distributed.all_max([task.stop.number])[0])  # of a signal to any process
            if number:
                if saved_step < progress.step:
                    save(task, is_best=False)
                raise Stopped(number, f"saved after step {progress.step}")
            task.take_step()
            is_evaluated = task.must_evaluate()
            if is_evaluated:
                line = task.evaluate()
                if distributed.is_first():
                    run_dir.add_metrics(task.directory, line)
                task.report(line)
            if task.must_save():
                save(task, is_best=is_evaluated and task.note_best())
                saved_step = progress.step
                if is_evaluated:
                    after_evaluation()
    task.finish()


def save(task: Task, *, is_best: bool) -> None:
    """Saves a checkpoint: the first process writes, all wait for it."""
    task.before_save()
    with distributed.synchronised():
        if not distributed.is_first():
            return
        if is_best and (names := run_dir.clear_directory(task.directory, run_dir.SCORES)):
            log.info(f"removed, scores of an earlier best: {', '.join(names)}")
        save_checkpoint(task, is_best=is_best)
