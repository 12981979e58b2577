"""A corpus on disk and in memory: `Sentence`, and the built data set that the programs read.

A built set is a folder: `tags.txt` (every tag, `O` first), `dataset.json` (facts: counts, unit, source
hashes, findings) and a folder a split with `sentences.txt` and, where the split is annotated, `tags.txt`.
One sentence a line; tokens, and tags, separated by exactly one space.  Where entities overlap,
`entities.jsonl` stands in place of the splits' `tags.txt`: `[[start, end, "LOC"], ...]` a line, half-open.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ner.tags import Span, TagSet, guess_scheme, split_tag

SPLITS = ("train", "val", "test")
UNITS = ("char", "word")
GOLD = ("tags.txt", "entities.jsonl")  # of a split, one of them


class DataError(ValueError):
    """A user's file is not what was expected.  One line: `file:line: what, got, expected`."""


class Sentence(NamedTuple):
    """`spans` is None where the sentence is not annotated, and empty where it holds no entity."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...] | None


class Split(NamedTuple):
    """A split as read; `illegal` lists (line from 1, token from 0) of tags that are no legal start."""

    sentences: list[Sentence]
    illegal: list[tuple[int, int]]

    @property
    def annotated(self) -> bool:
        return all(sentence.spans is not None for sentence in self.sentences)

    @property
    def n_entities(self) -> int:
        return sum(len(sentence.spans or ()) for sentence in self.sentences)

    @property
    def labels(self) -> set[str]:
        return {span.label for sentence in self.sentences for span in sentence.spans or ()}


def escape(token: str) -> str:
    r"""A token as it stands in `sentences.txt`: white space and U+FEFF as \uXXXX, a backslash doubled.

    U+FEFF would be taken for a byte order mark at the start of the file.
    """
    if token.isprintable() and "\\" not in token and " " not in token:
        return token
    return re.sub(
        r"[\s\x1c-\x1f\x85\ufeff\\]", lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", token
    )


def unescape(text: str) -> str:
    r"""The inverse of `escape`; a backslash that begins no escape stands for itself."""
    if "\\" not in text:
        return text
    return re.sub(r"\\(\\|u[0-9a-f]{4})", lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)


def read_bytes(path: str | Path) -> bytes:
    """The whole file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The whole file; DataError names the line where the bytes are not in the encoding."""
    data = read_bytes(path)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(undecodable(path, error)) from None


def undecodable(path: str | Path, error: UnicodeDecodeError) -> str:
    """`file:line: not utf-8, got bytes b1 b1`."""
    line = error.object[: error.start].decode(error.encoding, errors="replace").count("\n") + 1
    got = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.start + 4])
    return f"{path}:{line}: not {error.encoding}, got bytes {got}"


def read_json(path: str | Path) -> dict:
    """A JSON file that holds one object."""
    try:
        values = json.loads(read_text(path).removeprefix("\ufeff"), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON, {error.msg}") from None
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: {error}") from None
    except RecursionError:
        raise DataError(f"{path}: not JSON that can be read, nested too deeply") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: got {type(values).__name__}, expected one JSON object")
    return values


def once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object whose keys are all different; ValueError where one stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {again!r} twice, expected it once")
    return values


def _lines(path: Path) -> list[str]:
    """Lines ended by `\\n` alone (`\\r\\n` understood), the last newline being optional."""
    lines = read_text(path).removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


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
    tokens = [_read_tokens(path, i, line) for i, line in enumerate(_lines(path), start=1)]
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
    lines = _lines(path)
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


def tag_set_of(first_seen: dict[str, int], path: str | Path, scheme: str | None = None) -> TagSet:
    """The tag set of a file from its tags and the line of each tag's first use; DataError names that line."""
    prefixes = {"O": "O"}
    for tag, number in first_seen.items():
        try:
            prefix, _ = split_tag(tag)
            if prefix not in prefixes:
                prefixes[prefix] = tag
                TagSet(list(prefixes.values()), scheme or guess_scheme(prefixes.values()))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    tags = ["O", *sorted(set(first_seen) - {"O"})]
    guessed = guess_scheme(tags)
    # single entities may lack I-, or begin with I- by mistake: within B- and I- the reading is the same
    return TagSet(tags, scheme or ("BIO" if guessed in ("IOB1", "IO") else guessed))


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
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            first_seen.setdefault(line.strip(), number)
    labels = list(tag_set_of(first_seen, path).labels)
    if not labels:
        raise DataError(f"{path}: no entity type, expected O and tags such as B-LOC")
    return labels


def guess_unit(sentences: Sequence[Sentence]) -> str:
    """`char` where at least nine tokens in ten are a single code point, else `word`."""
    n_single = sum(len(token) == 1 for sentence in sentences for token in sentence.tokens)
    n_tokens = sum(len(sentence.tokens) for sentence in sentences)
    return "char" if n_single >= 0.9 * n_tokens else "word"


def read_unit(data_dir: str | Path, sentences: Sequence[Sentence]) -> str:
    """The unit that `dataset.json` states; guessed where a hand-made set has no such file."""
    path = Path(data_dir) / "dataset.json"
    unit = read_json(path).get("unit") if path.exists() else guess_unit(sentences)
    if unit not in UNITS:
        raise DataError(f"{path}: unit {unit!r}, expected char or word")
    return unit
