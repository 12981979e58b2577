"""The folder of a built data set: read, checked, and replaced as a whole."""

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ner.annotations.spans import tag_set_of
from ner.data.build import Dataset
from ner.data.sentence import SPLITS, UNITS, Sentence, Split, escape, unescape
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError
from ner.files import read_json, read_text_lines
from ner.tags import Span, TagSet

GOLD = ("tags.txt", "entities.jsonl")  # of a split, one of them


def read_split(data_dir: str | Path, split: str) -> Split:
    """Reads `<data_dir>/<split>/`.

    Raises DataError where a file is missing or empty, where a line of `tags.txt` has another number of
    items than its sentence, where a tag is none, or where an entity is not one of its sentence's.
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
    gold = [folder / name for name in GOLD if (folder / name).exists()]
    if len(gold) > 1:
        raise DataError(f"{folder}: {' and '.join(GOLD)}, expected one of them")
    if not gold:
        return Split([Sentence(row, None) for row in tokens], [])
    reader = _read_tags if gold[0].name == "tags.txt" else _read_entities
    return reader(gold[0], path, tokens)


def _items(line: str) -> list[str]:
    return line.rstrip(" ").split(" ")


def _read_tokens(path: Path, number: int, line: str) -> tuple[str, ...]:
    items = _items(line)
    if "" in items:
        raise DataError(f"{path}:{number}: empty token, expected tokens separated by one space")
    if "\\" in line:
        items = map(unescape, items)
    return tuple(map(sys.intern, items))  # one object for all places where a token stands


def _gold_lines(path: Path, sentences_path: Path, n_sentences: int) -> list[str]:
    lines = read_text_lines(path)
    if len(lines) != n_sentences:
        raise DataError(f"{path}: {len(lines)} lines, expected {n_sentences} as in {sentences_path}")
    return lines


def _read_entities(path: Path, sentences_path: Path, tokens: list[tuple[str, ...]]) -> Split:
    lines = _gold_lines(path, sentences_path, len(tokens))
    rows = zip(lines, tokens, strict=True)
    spans = [_spans_of(f"{path}:{i}", line, len(row)) for i, (line, row) in enumerate(rows, start=1)]
    return Split([Sentence(*pair) for pair in zip(tokens, spans, strict=True)], [])


def _spans_of(where: str, line: str, n_tokens: int) -> tuple[Span, ...]:
    """A line of `entities.jsonl`, sorted."""
    try:
        items = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: not JSON, expected [[start, end, label], ...]") from None
    if not isinstance(items, list):
        raise DataError(f"{where}: got {line[:40]}, expected [[start, end, label], ...]")
    for item in items:
        whole = isinstance(item, list) and [type(value) for value in item] == [int, int, str]
        if not whole or not 0 <= item[0] < item[1] <= n_tokens:
            raise DataError(f"{where}: got {str(item)[:60]}, expected [start, end, label] in 0..{n_tokens}")
        if not item[2] or any(c.isspace() or "\ud800" <= c <= "\udfff" for c in item[2]):
            raise DataError(f"{where}: label {item[2]!a}, expected a label without white space")
    spans = sorted(Span(*item) for item in items)
    for span, after in pairwise(spans):
        if span == after:
            raise DataError(f"{where}: {list(span)} twice, expected it once")
    return tuple(spans)


def _read_tags(path: Path, sentences_path: Path, tokens: list[tuple[str, ...]]) -> Split:
    lines = _gold_lines(path, sentences_path, len(tokens))
    first_seen: dict[str, int] = {}
    for number, (line, sentence) in enumerate(zip(lines, tokens, strict=True), start=1):
        row = _items(line)
        if len(row) != len(sentence):
            raise DataError(
                f"{path}:{number}: {len(row)} tags, expected {len(sentence)} as in {sentences_path}"
            )
        for tag in row:
            first_seen.setdefault(tag, number)
    kinds = tag_set_of(first_seen, path)
    split = Split([], [])
    # split once more: the tags of all lines at once would fill memory
    for number, (line, sentence) in enumerate(zip(lines, tokens, strict=True), start=1):
        ids = [kinds.index[tag] for tag in _items(line)]
        split.illegal.extend((number, position) for position in kinds.illegal_positions(ids))
        split.sentences.append(Sentence(sentence, tuple(kinds.spans(ids))))
    return split


def write_split(folder: str | Path, sentences: Iterable[Sentence], *, nested: bool = False) -> None:
    """Writes `sentences.txt` and, where the first sentence is annotated, `tags.txt` (BIO).

    `entities.jsonl` in its place where `nested`; ValueError where spans overlap and it is not.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sentences = list(sentences)
    _write_lines(folder / "sentences.txt", (" ".join(map(escape, s.tokens)) for s in sentences))
    if not sentences or sentences[0].spans is None:
        return
    if nested:
        rows = (json.dumps(sorted(s.spans), ensure_ascii=False) for s in sentences)
        _write_lines(folder / "entities.jsonl", rows)
    else:
        kinds = TagSet.from_labels({span.label for s in sentences for span in s.spans})
        rows = (kinds.tag_ids(s.spans, len(s.tokens)) for s in sentences)
        _write_lines(folder / "tags.txt", (" ".join(kinds.tags[k] for k in row) for row in rows))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def read_labels(data_dir: str | Path) -> list[str]:
    """Entity types of a built set, sorted, from `<data_dir>/tags.txt`."""
    path = Path(data_dir) / "tags.txt"
    first_seen: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        if line.strip():
            first_seen.setdefault(line.strip(), number)
    labels = list(tag_set_of(first_seen, path).labels)
    if not labels:
        raise DataError(f"{path}: no entity type, expected O and tags such as B-LOC")
    return labels


def read_unit(data_dir: str | Path, sentences: Sequence[Sentence]) -> str:
    """The unit that `dataset.json` states; guessed where a hand-made set has no such file."""
    path = Path(data_dir) / "dataset.json"
    unit = read_json(path).get("unit") if path.exists() else guess_unit_of_tokens(sentences)
    if unit not in UNITS:
        raise DataError(f"{path}: unit {unit!r}, expected char or word")
    return unit


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
