"""Checkpoints: a model directory together with the state of training, complete or absent.

experiments/<name>/checkpoints/step-120/   config.json, model.safetensors, vocab.txt ... and
                                           training_state.json, training_state.safetensors, manifest.json
experiments/<name>/last, best              relative links to complete checkpoints

In `checkpoints`, folders whose names begin with a dot are drafts, or old folders that are being removed.  A
killed program leaves at most such folders; the next program that resumes removes them.
"""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from ner.errors import DataError, TrainingError
from ner.files import numbered, read_json
from ner.model.manifest import STATE, check_manifest, check_sizes, write_manifest
from ner.runtime import distributed
from ner.runtime.devices import random_state, set_random_state
from ner.runtime.logs import log
from ner.tensors import save_weights
from ner.training.step import Progress, Task, Update

N_KEPT = 2  # the newest checkpoints are kept, and the best one


def save_checkpoint(task: Task, *, is_best: bool) -> Path:
    """Writes `checkpoints/step-N` under another name, renames it, then moves `last` (and `best`) to it.

    DataError if the disk is full or cannot be written, TrainingError if a weight is not finite; earlier
    checkpoints stay as they are.
    """
    directory, update, progress = task.directory, task.update, task.progress
    target = directory / "checkpoints" / f"step-{progress.step}"
    draft = _hidden(target, "unfinished")
    best = progress.step if is_best else _linked_step(directory / "best")
    weights = (p for group in update.optimizer.param_groups for p in group["params"])
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise TrainingError(
            f"weights are not finite after step {progress.step}; a lower learning_rate may help"
        )
    try:
        with saving(target):
            target.parent.mkdir(exist_ok=True)
            draft.mkdir()
            task.write_model(draft)
            values = {"progress": asdict(progress), "best": best, "record": asdict(task.record)}
            _save_state(draft, update, values)
            write_manifest(draft)
            for path in [*draft.iterdir(), draft]:
                _flush(path)
            _publish(draft, target)
            for name in ("best", "last") if is_best else ("last",):
                _link(directory / name, target)
            _flush(directory)
            _prune(directory)
    except DataError:
        shutil.rmtree(draft, ignore_errors=True)  # frees the disk for other programs
        raise
    return target


@contextlib.contextmanager
def saving(target: Path) -> Iterator[None]:
    """Inside, a failure to write is a DataError that names `target`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{target}: cannot be saved, {reason}; checkpoints before it are whole") from None


def _save_state(folder: Path, update: Update, values: dict) -> None:
    state = update.optimizer.state_dict()["state"]
    tensors = {f"optimizer.{i}.{name}": t for i, moments in state.items() for name, t in moments.items()}
    tensors |= {f"random.{name}": t for name, t in random_state().items()}
    save_weights(folder / f"{STATE}.safetensors", tensors)
    values = values | {"scaler": update.scaler.state_dict()}
    (folder / f"{STATE}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def find_checkpoint(experiment_dir: Path, name: str) -> Path:
    """The folder of checkpoint `name` (last, best or checkpoints/step-N), with every byte verified.

    If `last` is damaged, the one before it takes over, and the log says so; if that link is missing, the
    newest does.  DataError if no checkpoint is complete.
    """
    _clean_up(experiment_dir)
    link, candidates = experiment_dir / name, []
    if name == "last":
        newest = (_linked_step(link) or 0) if link.is_symlink() else math.inf
        saved = numbered(experiment_dir / "checkpoints", "step-")
        candidates = [path for step, path in reversed(saved.items()) if step <= newest]
    elif (name == "best" or name.startswith("checkpoints/step-")) and link.is_dir():
        candidates = [experiment_dir / "checkpoints" / link.resolve().name]
    if not candidates:
        raise DataError(f"{link}: no such checkpoint, expected last, best or checkpoints/step-N")
    damages: list[str] = []
    for folder in candidates:
        try:
            check_sizes(folder)
            check_manifest(folder)
        except DataError as error:
            damages.append(str(error))
            continue
        for damage in damages:
            log.info(f"{damage}; the checkpoint before it takes over")
        return folder
    raise DataError(damages[0])


def restore_checkpoint(task: Task, folder: Path) -> None:
    """Restores the task and the random state; removes later checkpoints.  DataError if of another run."""
    path, optimizer = folder / f"{STATE}.json", task.update.optimizer
    if not path.exists():
        raise DataError(f"{folder}: no {path.name}, expected a checkpoint of a training run")
    values = read_json(path)
    try:
        task.read_model(folder)
        state, random_states = {}, {}
        for name, tensor in load_file(folder / f"{STATE}.safetensors").items():
            _, *number, key = name.split(".")  # random.cpu, optimizer.3.exp_avg
            part = state.setdefault(int(number[0]), {}) if number else random_states
            part[key] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        task.update.scaler.load_state_dict(values["scaler"])
        progress, best = Progress(**values["progress"]), values["best"]
        record = type(task.record)(**values["record"])
        set_random_state(random_states)
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: not a checkpoint of this run, {str(error).splitlines()[0]}") from None
    if distributed.is_first():
        discard_after(task.directory, progress.step, best)
    task.progress, task.record = progress, record


def discard_after(experiment_dir: Path, step: int, best: int | None) -> None:
    """Makes `step` the last checkpoint and `best` the best one, if it still exists; removes later ones."""
    folder, link = experiment_dir / "checkpoints", experiment_dir / "best"
    saved = numbered(folder, "step-")
    _link(experiment_dir / "last", folder / f"step-{step}")
    if best in saved:
        _link(link, saved[best])
    else:
        link.unlink(missing_ok=True)
    _flush(experiment_dir)
    for number, path in saved.items():
        if number > step:
            _remove(path)


def _linked_step(link: Path) -> int | None:
    """N of the `step-N` to which a link leads; None if it leads elsewhere."""
    number = link.resolve().name.removeprefix("step-")
    return int(number) if number.isdecimal() else None


def _prune(experiment_dir: Path) -> None:
    best = _linked_step(experiment_dir / "best")
    for step, path in list(numbered(experiment_dir / "checkpoints", "step-").items())[:-N_KEPT]:
        if step != best:
            _remove(path)


def _hidden(target: Path, state: str) -> Path:
    """The name of a draft or of a folder that is being removed; whatever has it now is removed first."""
    hidden = target.with_name(f".{target.name}.{state}")
    shutil.rmtree(hidden, ignore_errors=True)
    return hidden


def _publish(draft: Path, target: Path) -> None:
    """Renames the draft to its final name; `_clean_up` restores an older folder after a crash."""
    replaced = _hidden(target, "replaced")
    if target.exists():
        target.rename(replaced)
    draft.rename(target)
    _flush(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _remove(path: Path) -> None:
    """Removes a checkpoint under another name, so that no half-removed folder looks like one."""
    shutil.rmtree(path.rename(_hidden(path, "removed")))


def _clean_up(experiment_dir: Path) -> None:
    """Completes what a killed program began; a checkpoint that was being replaced gets its name back."""
    for path in (experiment_dir / "checkpoints").glob(".step-*"):
        target = path.with_name(path.stem.removeprefix("."))
        if path.suffix == ".replaced" and not target.exists():
            path.rename(target)
        elif path.suffix in (".unfinished", ".replaced", ".removed"):
            shutil.rmtree(path)


def _link(link: Path, target: Path) -> None:
    draft = link.with_name(f".{link.name}.unfinished")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target.relative_to(link.parent))
    draft.replace(link)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
