"""The directory of a run: who trains in it, what stands in it, and its lines of metrics."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ner.config import to_json
from ner.errors import DataError
from ner.files import add_file_name, read_json, read_text, whole_file

LOCK = "train.lock"
METRICS = "metrics.jsonl"
OURS = ("train.log", METRICS, "resolved.json", "checkpoints", "last", "best", "distillation.json")
# of resolved.json, what makes two runs the same but for their seed
ALIKE = (
    *("params", "data", "precision", "loss_scale", "encoder", "weights", "tokenizer", "teacher"),
    "world_size",
)
# evaluate.py's, of the same model
SCORES = ("metrics_*.json", "predictions_*.txt", "predictions_*.jsonl", "suspicious_*.jsonl")


@contextlib.contextmanager
def only_trainer(directory: Path) -> Iterator[None]:
    """Holds `train.lock`, with the process id in it; DataError where another process holds it.

    The system lets go of the lock when its process ends, however that ends.
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
        with contextlib.suppress(OSError):  # a file that stays behind locks nothing
            path.unlink()
        os.close(handle)
        if is_new:
            with contextlib.suppress(OSError):  # not empty: something came of it
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
            raise DataError(f"{path.parent}: process {owner or 'unknown'} trains here, {path}") from None
        os.close(handle)  # its owner has just removed it


def check_directory(directory: Path, *, overwrite: bool, restore: str | None) -> None:
    """Makes sure that nothing is overwritten by accident."""
    if restore and overwrite:
        raise DataError("--restore_file and --overwrite: expected one of them")
    stands = _results(directory)
    if stands and not restore and not overwrite:
        goes_on = "--restore_file last goes on with it, " if (directory / "last").is_dir() else ""
        raise DataError(
            f"{directory}: results of an earlier run stand here ({', '.join(stands)}); "
            f"{goes_on}--overwrite begins anew"
        )


def clear_directory(directory: Path) -> None:
    """Removes an earlier run's files."""
    for name in _results(directory):
        path = directory / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def clear_scores(directory: Path) -> list[str]:
    """Removes what evaluate.py wrote, as another model is `best` now; the names of what there was."""
    names = _scores(directory)
    for name in names:
        (directory / name).unlink()
    return names


def _results(directory: Path) -> list[str]:
    stands = [name for name in OURS if (directory / name).exists() or (directory / name).is_symlink()]
    return stands + _scores(directory)


def _scores(directory: Path) -> list[str]:
    return sorted(path.name for pattern in SCORES for path in directory.glob(pattern))


def write_resolved(directory: Path, resolved: dict) -> None:
    """`resolved.json`: what was asked for and what it came to."""
    with add_file_name(directory / "resolved.json"), whole_file(directory / "resolved.json") as file:
        file.write(to_json(resolved))


def check_unchanged(directory: Path, resolved: dict) -> None:
    """A resumed run must be the same run: DataError names what changed, be it params, data or processes."""
    check_same(directory / "resolved.json", resolved, ("seed", *ALIKE), "the run")


def check_same(path: Path, values: dict, parts: Sequence[str], what: str) -> None:
    """DataError names the first of the parts that is not as the file has it, written when `what` began."""
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
    """One more line of `metrics.jsonl`, on the disk before the checkpoint that counts it."""
    path = directory / METRICS
    with add_file_name(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def cut_metrics(directory: Path, keeps: Callable[[dict], bool]) -> None:
    """Leaves the lines up to the first that `keeps` refuses or that was cut off in writing.

    DataError where a whole line is none of metrics.
    """
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
