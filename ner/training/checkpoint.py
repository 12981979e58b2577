"""Checkpoints: a model directory with the state of training beside it, whole or not there at all.

experiments/<name>/checkpoints/step-120/   config.json, model.safetensors, vocab.txt ... and
                                           training_state.json, training_state.safetensors, manifest.json
experiments/<name>/last, best              relative links to whole checkpoints

In `checkpoints`, names that begin with a dot are drafts and what is about to go; a program killed at any
moment leaves at most those behind, and the next one that resumes removes them.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ner.errors import DataError, TrainingError
from ner.files import read_json
from ner.model.manifest import STATE, check_manifest, check_sizes, write_manifest
from ner.runtime import distributed
from ner.runtime.seeds import random_state, set_random_state
from ner.tensors import save_weights
from ner.training.step import Progress

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
    resuming.  Raises DataError where the disk is full or cannot be written, TrainingError where a weight
    is not finite; the checkpoints before it stay as they are.
    """
    target = experiment_dir / "checkpoints" / f"step-{progress.step}"
    draft = _hidden(target, "unfinished")
    best = progress.step if is_best else _best_step(experiment_dir)
    _check_finite(optimizer, progress.step)
    try:
        with saving(target):
            target.parent.mkdir(exist_ok=True)
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            write_model(draft)
            values = {"progress": asdict(progress), "best": best, "record": record}
            _save_state(draft, optimizer, scaler, values)
            write_manifest(draft)
            for path in [*draft.iterdir(), draft]:
                _flush(path)
            _publish(draft, target)
            for name in ("best", "last") if is_best else ("last",):
                _link(experiment_dir / name, target)
            _flush(experiment_dir)
            _prune(experiment_dir)
    except DataError:
        shutil.rmtree(draft, ignore_errors=True)  # room for other programs
        raise
    return target


@contextlib.contextmanager
def saving(target: Path) -> Iterator[None]:
    """A failure to write in it is a DataError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{target}: cannot be saved, {reason}; checkpoints before it are whole") from None


def _check_finite(optimizer: torch.optim.Optimizer, step: int) -> None:
    weights = (p for group in optimizer.param_groups for p in group["params"])
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise TrainingError(f"weights are not finite after step {step}; a lower learning_rate may help")


def _save_state(folder: Path, optimizer, scaler, values: dict) -> None:
    state = optimizer.state_dict()["state"]
    tensors = {f"optimizer.{i}.{name}": t for i, moments in state.items() for name, t in moments.items()}
    tensors |= {f"random.{name}": t for name, t in random_state().items()}
    save_weights(folder / f"{STATE}.safetensors", tensors)
    values = values | {"scaler": scaler.state_dict()}
    (folder / f"{STATE}.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def find_checkpoint(experiment_dir: Path, name: str) -> tuple[Path, list[str]]:
    """The checkpoint that `name` (last, best, or checkpoints/step-N) stands for, all its bytes verified.

    Where the last one is damaged the one before takes over, which the second value says, a line each.
    DataError where none is whole.
    """
    _clean_up(experiment_dir)
    link = experiment_dir / name
    if name == "last":
        candidates = _up_to(experiment_dir, link)
    else:
        known = name == "best" or name.startswith("checkpoints/step-")
        stands = known and link.is_dir()
        candidates = [experiment_dir / "checkpoints" / link.resolve().name] if stands else []
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
        return folder, [f"{damage}; the checkpoint before it takes over" for damage in damages]
    raise DataError(damages[0])


def _up_to(experiment_dir: Path, last: Path) -> list[Path]:
    """Checkpoints from the last one back; from the newest where the link is not there."""
    found = _checkpoints(experiment_dir)[::-1]
    if not last.is_symlink():
        return found
    name = Path(os.readlink(last)).name
    return [path for path in found if name[5:].isdecimal() and _step(path) <= _step(Path(name))]


def restore_checkpoint(
    folder: Path,
    *,
    read_model: Callable[[Path], None],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[Progress, int | None, dict]:
    """Puts weights, optimiser, scaler and random state back.

    `read_model` fills the model from a folder that `write_model` filled.  Returns progress, the step of
    the best checkpoint at that time, and the caller's record.
    """
    if not (folder / f"{STATE}.json").exists():
        raise DataError(f"{folder}: no {STATE}.json, expected a checkpoint of a training run")
    values = read_json(folder / f"{STATE}.json")
    try:
        read_model(folder)
        tensors = load_file(folder / f"{STATE}.safetensors")
        optimizer.load_state_dict(
            {"state": _optimizer_state(tensors), "param_groups": optimizer.state_dict()["param_groups"]}
        )
        scaler.load_state_dict(values["scaler"])
        progress, best, record = Progress(**values["progress"]), values["best"], values["record"]
        set_random_state(
            {n.removeprefix("random."): t for n, t in tensors.items() if n.startswith("random.")}
        )
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}: not a checkpoint of this run, {str(error).splitlines()[0]}") from None
    return progress, best, record


def resume(experiment_dir: Path, folder: Path, *, record_type: type, **parts) -> tuple[Progress, Any]:
    """Goes back to a checkpoint from `find_checkpoint`; later ones are discarded.

    `parts` are those of `restore_checkpoint`; the caller's record comes back as a `record_type`.
    """
    progress, best, values = restore_checkpoint(folder, **parts)
    try:
        record = record_type(**values)
    except TypeError as error:
        raise DataError(f"{folder / STATE}.json: record: {error}") from None
    if distributed.is_first():
        discard_after(experiment_dir, progress.step, best)
    return progress, record


def _optimizer_state(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    return state


def discard_after(experiment_dir: Path, step: int, best: int | None) -> None:
    """Makes `step` the last checkpoint and `best` the best, if it still stands, and removes later ones."""
    folder, link = experiment_dir / "checkpoints", experiment_dir / "best"
    _link(experiment_dir / "last", folder / f"step-{step}")
    if best is not None and (folder / f"step-{best}").is_dir():
        _link(link, folder / f"step-{best}")
    else:
        link.unlink(missing_ok=True)
    _flush(experiment_dir)
    for path in _checkpoints(experiment_dir):
        if _step(path) > step:
            _remove(path)


def _checkpoints(experiment_dir: Path) -> list[Path]:
    found = (experiment_dir / "checkpoints").glob("step-*")
    return sorted((path for path in found if path.name[5:].isdecimal()), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _best_step(experiment_dir: Path) -> int | None:
    best = experiment_dir / "best"
    return _step(best.resolve()) if best.is_dir() else None


def _prune(experiment_dir: Path) -> None:
    best = _best_step(experiment_dir)
    for path in _checkpoints(experiment_dir)[:-N_KEPT]:
        if _step(path) != best:
            _remove(path)


def _hidden(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def _publish(draft: Path, target: Path) -> None:
    """Gives the draft its name; one that has it already is there until then (`_clean_up` sees to that)."""
    replaced = _hidden(target, "replaced")
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    draft.rename(target)
    _flush(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _remove(path: Path) -> None:
    """Never leaves a half-removed folder under a checkpoint's name."""
    going = _hidden(path, "removed")
    shutil.rmtree(going, ignore_errors=True)
    path.rename(going)
    shutil.rmtree(going)


def _clean_up(experiment_dir: Path) -> None:
    """Ends what a killed program had begun: a checkpoint cut off in being replaced gets its name back."""
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
