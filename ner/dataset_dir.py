"""The folder of a built data set: written beside, moved in when whole, put back as it was on any failure."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ner.corpus import GOLD, SPLITS, DataError, write_split
from ner.dataset import Dataset
from ner.tags import TagSet

OWNED = (*SPLITS, "tags.txt", "dataset.json", "audit.json", "audit.md")
SPLIT_FILES = {"sentences.txt", *GOLD}


def check_out_dir(out_dir: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """DataError where a build could not go there, or would overwrite an input or a stranger's files."""
    try:
        _check(Path(out_dir), inputs)
    except OSError as error:
        raise DataError(f"{out_dir}: cannot be read, {error.strerror or error}") from None


def _check(out_dir: Path, inputs: Iterable[str | Path]) -> None:
    existing = _existing(out_dir)
    if not existing.is_dir():
        raise DataError(f"{existing}: is a file, expected a folder for --out_dir {out_dir}")
    for path in inputs:
        resolved = Path(path).resolve()
        if any(resolved.is_relative_to(out_dir.resolve() / name) for name in OWNED):
            raise DataError(
                f"{path}: would be overwritten by the build, expected an input outside its splits"
            )
    for split in SPLITS:
        folder = out_dir / split
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder}: is a file, expected the folder of a split or nothing")
        strange = sorted({p.name for p in folder.iterdir()} - SPLIT_FILES) if folder.exists() else []
        if strange:
            raise DataError(f"{folder}: holds {strange[0]!r}, expected only {', '.join(sorted(SPLIT_FILES))}")


def write_dataset(out_dir: str | Path, dataset: Dataset, audit: Mapping[str, str] | None = None) -> None:
    """Writes `tags.txt`, `dataset.json`, the splits and the texts of an audit, by file name.

    Splits and audits of an earlier build are replaced, and removed where this one has none such; other
    files of the folder stay as they are.
    """
    out_dir = Path(out_dir)
    parent = _existing(out_dir)  # on the same file system as the folder to be, so that a move is a rename
    try:
        with tempfile.TemporaryDirectory(
            prefix=".build-", dir=parent, ignore_cleanup_errors=True
        ) as temporary:
            built, replaced = Path(temporary) / "new", Path(temporary) / "old"
            replaced.mkdir()
            for split, sentences in dataset.splits.items():
                write_split(built / split, sentences, nested=dataset.nested)
            _write(
                built / "tags.txt",
                "".join(f"{tag}\n" for tag in TagSet.from_labels(dataset.facts["labels"]).tags),
            )
            _write(built / "dataset.json", json.dumps(dataset.facts, ensure_ascii=False, indent=2) + "\n")
            for name, text in (audit or {}).items():
                _write(built / name, text)
            _swap(built, out_dir, replaced)
    except OSError as error:
        raise DataError(f"{out_dir}: cannot be written, {error.strerror or error}") from None


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _swap(built: Path, out_dir: Path, replaced: Path) -> None:
    """Moves an earlier build out and the new one in: all of it or, on any failure, none."""
    new_folders = [folder for folder in (out_dir, *out_dir.parents) if not folder.exists()]
    moves: list[tuple[Path, Path]] = []
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name in OWNED:
            for source, target in ((out_dir / name, replaced / name), (built / name, out_dir / name)):
                if source.exists() or source.is_symlink():
                    moves.append((source, target))
                    source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if target.exists() or target.is_symlink():
                target.rename(source)
        for folder in new_folders:
            if folder.exists():
                folder.rmdir()
        raise
