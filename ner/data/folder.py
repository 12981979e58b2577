"""The folder of a built data set: read, checked, and replaced as a whole."""

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from ner.annotations import ANNOTATIONS
from ner.data.build import Dataset
from ner.data.sentence import SPLITS, UNITS, Sentence, Split
from ner.data.word_rules import WordRules, read_rules
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError
from ner.files import escape, read_json, read_text_lines, unescape, write_lines
from ner.tags import TagSet

GOLD_FILES = tuple(name for annotation in ANNOTATIONS.values() for name in annotation.files)


def read_split(data_dir: str | Path, split: str) -> Split:
    """Reads `<data_dir>/<split>/`: the tokens, and every kind of gold that has a file there.

    DataError if a file is missing, empty or wrong, or if two files of one kind of gold are there.
    """
    if Path(split).name != split:
        raise DataError(f"split {split!r}: expected the name of a folder of {data_dir}, such as test")
    folder = Path(data_dir) / split
    path = folder / "sentences.txt"
    if not folder.is_dir():
        known = [name for name in SPLITS if (Path(data_dir) / name).is_dir()]
        expected = f"one of {', '.join(known)}" if known else "a set made by build_dataset.py"
        raise DataError(f"{folder}: no such split, expected {expected}")
    tokens = [_read_tokens(path, i, line) for i, line in enumerate(read_text_lines(path), start=1)]
    if not tokens:
        raise DataError(f"{path}: empty, expected one sentence a line")
    read = {}
    for name, annotation in ANNOTATIONS.items():
        files = [folder / file for file in annotation.files if (folder / file).exists()]
        if len(files) > 1:
            raise DataError(f"{folder}: {' and '.join(annotation.files)}, expected one of them")
        if files:
            read[name] = annotation.read(files[0], tokens)
    golds = ({name: one.values[i] for name, one in read.items()} for i in range(len(tokens)))
    sentences = list(map(Sentence, tokens, golds))
    return Split(sentences, [place for one in read.values() for place in one.illegal])


def check_gold(split: Split, folder: str | Path, annotations: Iterable[str]) -> None:
    """DataError if the folder of a split holds no file of one of the annotations."""
    for name in annotations:
        if name not in split.sentences[0].gold:
            files = " or ".join(ANNOTATIONS[name].files)
            raise DataError(f"{folder}: no {files}, expected an annotated split; predict.py tags it")


def _read_tokens(path: Path, number: int, line: str) -> tuple[str, ...]:
    items = line.rstrip(" ").split(" ")
    if "" in items:
        raise DataError(f"{path}:{number}: empty token, expected tokens separated by one space")
    if "\\" in line:
        items = map(unescape, items)
    return tuple(map(sys.intern, items))  # equal tokens share one object


def gold_files(splits: Iterable[Iterable[Sentence]]) -> dict[str, str]:
    """For each kind of gold in the splits the name of the file that can hold it in all of them."""
    values: dict[str, list] = {}
    for sentence in chain.from_iterable(splits):
        for name, value in sentence.gold.items():
            values.setdefault(name, []).append(value)
    return {name: ANNOTATIONS[name].choose_file(found) for name, found in values.items()}


def write_split(
    folder: str | Path, sentences: Iterable[Sentence], files: Mapping[str, str] | None = None
) -> None:
    """Writes `sentences.txt` and a file for each kind of gold; a split without annotation has no such file.

    `files` are the names from `gold_files`; None: chosen for this split alone.
    """
    folder, sentences = Path(folder), list(sentences)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [sentence.tokens for sentence in sentences]
    write_lines(folder / "sentences.txt", (" ".join(map(escape, row)) for row in tokens))
    files = gold_files([sentences]) if files is None else files
    for name in sentences[0].gold if sentences else ():
        values = [sentence.gold[name] for sentence in sentences]
        ANNOTATIONS[name].write(folder / files[name], tokens, values)


def read_unit(data_dir: str | Path, sentences: Sequence[Sentence]) -> str:
    """The unit that `dataset.json` states; without that file it is guessed from the sentences."""
    path = Path(data_dir) / "dataset.json"
    unit = read_json(path).get("unit") if path.exists() else guess_unit_of_tokens(sentences)
    if unit not in UNITS:
        raise DataError(f"{path}: unit {unit!r}, expected char or word")
    return unit


def read_word_rules(data_dir: str | Path) -> WordRules | None:
    """The rules for cutting raw text that `dataset.json` states; None: the general ones."""
    path = Path(data_dir) / "dataset.json"
    return read_rules(read_json(path).get("words") if path.exists() else None, str(path))


OWNED = (*SPLITS, "tags.txt", "dataset.json", "audit.json", "audit.md")
SPLIT_FILES = {"sentences.txt", *GOLD_FILES}


def check_out_dir(out_dir: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """DataError if a build cannot be written there, or would overwrite an input or foreign files."""
    out_dir = Path(out_dir)
    try:
        existing = _existing(out_dir)
        if not existing.is_dir():
            raise DataError(f"{existing}: is a file, expected a folder for --out_dir {out_dir}")
        for path in inputs:
            resolved = Path(path).resolve()
            if any(resolved.is_relative_to(out_dir.resolve() / name) for name in OWNED):
                expected = "expected an input outside its splits"
                raise DataError(f"{path}: would be overwritten by the build, {expected}")
        for folder in (out_dir / split for split in SPLITS):
            if folder.exists() and not folder.is_dir():
                raise DataError(f"{folder}: is a file, expected the folder of a split or nothing")
            foreign = sorted({p.name for p in folder.iterdir()} - SPLIT_FILES) if folder.exists() else []
            if foreign:
                known = ", ".join(sorted(SPLIT_FILES))
                raise DataError(f"{folder}: holds {foreign[0]!r}, expected only {known}")
    except OSError as error:
        raise DataError(f"{out_dir}: cannot be read, {error.strerror or error}") from None


def write_dataset(out_dir: str | Path, dataset: Dataset, audit: Mapping[str, str] | None = None) -> None:
    """Writes `tags.txt`, `dataset.json`, the splits and the files of an audit (name -> text).

    Splits and audits of an earlier build are replaced, or removed if this build has none.  Other files of
    the folder stay.
    """
    out_dir = Path(out_dir)
    parent = _existing(out_dir)  # on the same file system as the folder to be, so that a move is a rename
    try:
        options = {"prefix": ".build-", "dir": parent, "ignore_cleanup_errors": True}
        with tempfile.TemporaryDirectory(**options) as temporary:
            built, replaced = Path(temporary) / "new", Path(temporary) / "old"
            replaced.mkdir()
            files = gold_files(dataset.splits.values())
            for split, sentences in dataset.splits.items():
                write_split(built / split, sentences, files)
            tags = "".join(f"{escape(tag)}\n" for tag in TagSet.from_labels(dataset.facts["labels"]).tags)
            facts = json.dumps(dataset.facts, ensure_ascii=False, indent=2) + "\n"
            for name, text in {"tags.txt": tags, "dataset.json": facts, **(audit or {})}.items():
                (built / name).write_text(text, encoding="utf-8", newline="\n")
            _swap(built, out_dir, replaced)
    except OSError as error:
        raise DataError(f"{out_dir}: cannot be written, {error.strerror or error}") from None


def _existing(path: Path) -> Path:
    """The path itself, or the nearest parent folder that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _swap(built: Path, out_dir: Path, replaced: Path) -> None:
    """Moves an earlier build out and the new one in.  After any failure the folder is as it was."""
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
