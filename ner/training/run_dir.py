"""The directory of a run: its lock, its result files and its metrics.jsonl."""

import contextlib
import fcntl
import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ner.errors import DataError
from ner.files import add_file_name, read_json, read_text, whole_file

LOCK = "train.lock"
METRICS = "metrics.jsonl"
# files that evaluate.py writes about `best`
SCORES = ("metrics_*.json", "predictions_*.jsonl", "predictions_*.txt", "suspicious_*.jsonl")
RESULTS = ("train.log", METRICS, "resolved.json", "checkpoints", "last", "best", "distillation.json", *SCORES)
# keys of resolved.json in which two runs must agree to differ in their seed alone
ALIKE = ("params", "data", "precision", "loss_scale", "encoder", "weights")
ALIKE += ("tokenizer", "teacher", "world_size")


@contextlib.contextmanager
def only_trainer(directory: Path) -> Iterator[None]:
    """Holds `train.lock`, which contains the process id; DataError if another process holds it.

    The operating system releases the lock when the process ends, even if it is killed.
    """
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCK
    handle = _lock(path)
    try:
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # a file that is left locks nothing
            path.unlink()
        os.close(handle)
        if is_new:
            with contextlib.suppress(OSError):  # not empty: the run left results
                directory.rmdir()


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            owner = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise DataError(
                f"{path.parent}: process {owner or 'unknown'} is training here, lock file {path}"
            ) from None
        os.close(handle)  # the file's owner has just removed it


def check_directory(directory: Path, *, overwrite: bool, restore: str | None) -> None:
    """DataError if results of an earlier run would be overwritten without `overwrite`."""
    if restore and overwrite:
        raise DataError("--restore_file and --overwrite: expected one of them")
    names = _results(directory, RESULTS)
    if names and not restore and not overwrite:
        goes_on = "--restore_file last continues that run, " if (directory / "last").is_dir() else ""
        raise DataError(
            f"{directory}: holds results of an earlier run ({', '.join(names)}); "
            f"{goes_on}--overwrite deletes it and starts again"
        )


def clear_directory(directory: Path, patterns: Sequence[str] = RESULTS) -> list[str]:
    """Removes the results of an earlier run whose names match; returns their names."""
    names = _results(directory, patterns)
    for path in (directory / name for name in names):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return names


def _results(directory: Path, patterns: Sequence[str]) -> list[str]:
    """Names of files, folders and links, wherever these lead."""
    found = os.listdir(directory) if directory.is_dir() else []
    return [name for pattern in patterns for name in sorted(fnmatch.filter(found, pattern))]


def check_unchanged(directory: Path, resolved: dict) -> None:
    """DataError if a resumed run would differ in its params, data, number of processes or the like."""
    check_same(directory / "resolved.json", resolved, ("seed", *ALIKE), "the run")


def check_same(path: Path, values: dict, parts: Sequence[str], what: str) -> None:
    """DataError with the first of the `parts` that differs from the file, written when `what` began."""
    before = read_json(path)
    for part in parts:
        old, new = before.get(part), json.loads(json.dumps(values.get(part)))
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            name = next(key for key in {**old, **new} if old.get(key) != new.get(key))
            part, old, new = f"{part}.{name}", old.get(name), new.get(name)
        raise DataError(f"{path.parent}: {part} is {new!r}, expected {old!r} as when {what} began")


def add_metrics(directory: Path, line: dict) -> None:
    """Appends a line to `metrics.jsonl`, flushed to disk before the checkpoint that follows it."""
    path = directory / METRICS
    with add_file_name(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def truncate_metrics(directory: Path, keeps: Callable[[dict], bool]) -> None:
    """Truncates metrics.jsonl at the first incomplete or rejected line; DataError if one is not valid."""
    path, kept = directory / METRICS, []
    lines = read_text(path).splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith("\n") or not keeps(json.loads(line)):
                break
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path}:{number}: damaged, expected a line of metrics") from None
        kept.append(line)
    with add_file_name(path), whole_file(path) as file:
        file.writelines(kept)
