"""Checkpoints: a model directory with the state of training beside it, whole or not there at all.

experiments/<name>/checkpoints/step-120/   config.json, model.safetensors, vocab.txt ... and
                                           training_state.json, training_state.safetensors
experiments/<name>/last, best              relative links to whole checkpoints
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ner.corpus import DataError, read_json
from ner.encoders.weights import save_weights
from ner.engine import Progress
from ner.runtime import random_state, set_random_state

N_KEPT = 2  # newest ones; the best is kept besides


def save_checkpoint(
    experiment_dir: Path,
    *,
    write_model: Callable[[Path], None],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
    record: dict,
    is_best: bool,
) -> Path:
    """Writes `checkpoints/step-N` beside, flushes, renames, then moves `last` (and `best`) to it.

    `write_model` fills a folder with the model directory; `record` is any JSON the caller wants back on
    resuming.
    """
    folder = experiment_dir / "checkpoints"
    folder.mkdir(exist_ok=True)
    target = folder / f"step-{progress.step}"
    draft = folder / f".{target.name}.unfinished"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    write_model(draft)
    _save_state(draft, optimizer, scaler, progress, record)
    for path in [*draft.iterdir(), draft]:
        _flush(path)
    shutil.rmtree(target, ignore_errors=True)  # left by a run that was cut off before it was linked
    draft.rename(target)
    _flush(folder)
    for name in ("best", "last") if is_best else ("last",):
        _link(experiment_dir / name, target)
    _prune(experiment_dir)
    return target


def _save_state(folder: Path, optimizer, scaler, progress: Progress, record: dict) -> None:
    state = optimizer.state_dict()["state"]
    tensors = {f"optimizer.{i}.{name}": t for i, values in state.items() for name, t in values.items()}
    tensors |= {f"random.{name}": t for name, t in random_state().items()}
    save_weights(folder / "training_state.safetensors", tensors)
    values = {"progress": asdict(progress), "scaler": scaler.state_dict(), "record": record}
    (folder / "training_state.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def restore_checkpoint(
    folder: Path,
    *,
    read_model: Callable[[Path], None],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[Progress, dict]:
    """Puts weights, optimiser, scaler and random state back; returns progress and the caller's record.

    `read_model` fills the model from a folder that `write_model` filled.
    """
    if not (folder / "training_state.json").exists():
        raise DataError(f"{folder}: no training_state.json, expected a checkpoint of a training run")
    values = read_json(folder / "training_state.json")
    try:
        read_model(folder)
        tensors = load_file(folder / "training_state.safetensors")
        optimizer.load_state_dict(
            {"state": _optimizer_state(tensors), "param_groups": optimizer.state_dict()["param_groups"]}
        )
        scaler.load_state_dict(values["scaler"])
        progress, record = Progress(**values["progress"]), values["record"]
        set_random_state(
            {n.removeprefix("random."): t for n, t in tensors.items() if n.startswith("random.")}
        )
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: not a checkpoint of this run, {str(error).splitlines()[0]}") from None
    return progress, record


def resume(experiment_dir: Path, name: str, *, record_type: type, **parts) -> tuple[Progress, Any]:
    """Goes back to the checkpoint that `name` (last, best, or checkpoints/step-N) stands for.

    `parts` are those of `restore_checkpoint`; the caller's record comes back as a `record_type`.  Later
    checkpoints are discarded.
    """
    folder = experiment_dir / name
    progress, values = restore_checkpoint(folder.resolve(), **parts)
    try:
        record = record_type(**values)
    except TypeError as error:
        raise DataError(f"{folder}/training_state.json: record: {error}") from None
    discard_after(experiment_dir, progress.step)
    return progress, record


def _optimizer_state(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    return state


def discard_after(experiment_dir: Path, step: int) -> None:
    """Removes checkpoints of later steps, and makes that of `step` the last: the run goes on from it."""
    _link(experiment_dir / "last", experiment_dir / "checkpoints" / f"step-{step}")
    best = experiment_dir / "best"
    for path in _checkpoints(experiment_dir):
        if _step(path) > step:
            if best.is_symlink() and best.resolve() == path.resolve():
                best.unlink()
            shutil.rmtree(path)


def _checkpoints(experiment_dir: Path) -> list[Path]:
    found = (experiment_dir / "checkpoints").glob("step-*")
    return sorted((path for path in found if path.name[5:].isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _prune(experiment_dir: Path) -> None:
    best = (experiment_dir / "best").resolve()
    for path in _checkpoints(experiment_dir)[:-N_KEPT]:
        if path.resolve() != best:
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
