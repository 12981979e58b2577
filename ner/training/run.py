"""A run of fine-tuning or pretraining: its settings, its start, and the loop over optimiser steps.

A `Task` is a model in training.  Its methods say when to evaluate, when to save and what to measure; the loop
handles signals, checkpoints and metrics.jsonl.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ner.config import to_json
from ner.errors import Stopped
from ner.files import add_file_name, whole_file
from ner.runtime import distributed
from ner.runtime.logs import log, log_to
from ner.runtime.program import StopRequest
from ner.training import run_dir
from ner.training.checkpoint import find_checkpoint, restore_checkpoint, save_checkpoint
from ner.training.step import Progress, Update


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


@dataclass(kw_only=True)
class Task:
    """A model in training: base of `FineTuning` and `Pretraining`."""

    counter: ClassVar[str]
    "key that numbers the lines of metrics.jsonl, and the attribute of `Progress` with the same count"

    directory: Path
    update: Update
    device: torch.device
    replicas: nn.Module | None = None
    "the model wrapped for several devices or processes"
    show_progress: bool = field(default_factory=lambda: sys.stderr.isatty() and distributed.is_first())
    "show a progress bar on the terminal"
    progress: Progress = field(default_factory=Progress)
    record: Any
    "dataclass of what the task itself keeps in a checkpoint"
    stop: StopRequest = field(default_factory=StopRequest)

    def running(self) -> contextlib.AbstractContextManager:
        """The context in which all steps are taken, such as a progress bar."""
        return contextlib.nullcontext()

    def is_over(self) -> bool:
        raise NotImplementedError

    def take_step(self) -> None:
        """Takes the next optimiser step, or finds that the epoch has none left."""
        raise NotImplementedError

    def must_evaluate(self) -> bool:
        raise NotImplementedError

    def evaluate(self) -> dict:
        """Measures the model; returns a line of metrics.jsonl."""
        raise NotImplementedError

    def report(self, line: dict) -> None:
        """Logs what `evaluate` returned, and begins to count for the next line."""
        raise NotImplementedError

    def must_save(self) -> bool:
        raise NotImplementedError

    def note_best(self) -> bool:
        """True if the evaluated model is the best so far, which the record then says."""
        raise NotImplementedError

    def before_save(self) -> None:
        """Completes the record, in all processes."""

    def write_model(self, folder: Path) -> None:
        raise NotImplementedError

    def read_model(self, folder: Path) -> None:
        raise NotImplementedError

    def describe_position(self) -> str:
        """Where a restored run goes on."""
        raise NotImplementedError

    def finish(self) -> None:
        """What follows the last step."""


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
    written.  A new run copies `params` into its directory and removes `old_files` there.  `resolved`, which
    goes into resolved.json, holds the options of the run and what was derived from them.
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
    record_type, read_model = type(task.record), task.read_model
    task.progress, task.record = restore_checkpoint(
        task.directory, folder, record_type=record_type, read_model=read_model, update=task.update
    )
    if distributed.is_first():
        n_done = getattr(task.progress, task.counter)
        run_dir.truncate_metrics(task.directory, lambda line: line[task.counter] <= n_done)
    log.info(f"restored {folder}: {task.describe_position()}")


def run(task: Task, after_evaluation: Callable[[], None] = lambda: None) -> None:
    """Trains until the task is over; all processes call it.

    `after_evaluation` is called when an evaluated model is saved; an exception from it ends the run.
    Raises Stopped after a signal, with everything saved.
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
        if is_best and (names := run_dir.clear_scores(task.directory)):
            log.info(f"removed, scores of an earlier best: {', '.join(names)}")
        save_checkpoint(
            task.directory,
            write_model=task.write_model,
            update=task.update,
            progress=task.progress,
            record=asdict(task.record),
            is_best=is_best,
        )
