"""The loop over optimiser steps that fine-tuning and pretraining share.

A `Task` is a model in training.  Its methods say when to evaluate, when to save and what to measure; the loop
handles signals, checkpoints and metrics.jsonl.
"""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ner.errors import Stopped
from ner.runtime import distributed
from ner.runtime.logs import log
from ner.runtime.program import StopRequest
from ner.training.checkpoint import restore_checkpoint, save_checkpoint
from ner.training.run_dir import add_metrics, clear_scores, truncate_metrics
from ner.training.step import Progress, Update


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
    show_progress: bool = False
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


def restore(task: Task, folder: Path) -> None:
    """Goes back to a checkpoint that `find_checkpoint` found; all processes call it."""
    task.progress, task.record = restore_checkpoint(
        task.directory,
        folder,
        record_type=type(task.record),
        read_model=task.read_model,
        update=task.update,
    )
    if distributed.is_first():
        n_done = getattr(task.progress, task.counter)
        truncate_metrics(task.directory, lambda line: line[task.counter] <= n_done)
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
            if number := stop_signal(task):
                if saved_step < progress.step:
                    save(task, is_best=False)
                raise Stopped(number, f"saved after step {progress.step}")
            task.take_step()
            is_evaluated = task.must_evaluate()
            if is_evaluated:
                line = task.evaluate()
                if distributed.is_first():
                    add_metrics(task.directory, line)
                task.report(line)
            if task.must_save():
                save(task, is_best=is_evaluated and task.note_best())
                saved_step = progress.step
                if is_evaluated:
                    after_evaluation()
    task.finish()


def stop_signal(task: Task) -> int:
    """Number of the signal that any process received, or 0."""
    return int(distributed.all_max([task.stop.number])[0])


def save(task: Task, *, is_best: bool) -> None:
    """Saves a checkpoint: the first process writes, all wait for it."""
    task.before_save()
    with distributed.synchronised():
        if distributed.is_first():
            _write(task, is_best)


def _write(task: Task, is_best: bool) -> None:
    if is_best and (names := clear_scores(task.directory)):
        log.info(f"removed, scores of an earlier best: {', '.join(names)}")
    save_checkpoint(
        task.directory,
        write_model=task.write_model,
        update=task.update,
        progress=task.progress,
        record=asdict(task.record),
        is_best=is_best,
    )
