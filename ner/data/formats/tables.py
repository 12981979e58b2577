"""Comma- or TAB-separated values, as spreadsheets and pandas write them: csv.

A header names the columns.  Fields are quoted as Python's csv module reads them, one row a line.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from ner.data.formats.columns import N_SAMPLED, column_indices
from ner.data.formats.content import read_content_lines
from ner.data.formats.document import DEFAULTS, Document, Format, Reading
from ner.data.formats.rows import Block, is_tag
from ner.data.formats.tagged import make_document
from ner.data.wording import excerpt, note_lines
from ner.errors import DataError

TOKENS = ("word", "words", "token", "tokens", "form", "character", "char", "text", "字")
TAGS = (
    "tag",
    "tags",
    "ner",
    "ner_tag",
    "ner_tags",
    "ner tag",
    "iob",
    "bio",
    "label",
    "labels",
    "entity",
    "标签",
)
_SENTENCE = re.compile("sent|doc|句", re.IGNORECASE)
_JSON = re.compile(r"\s*[\[{]")


def looks_like(path: Path, text: str) -> bool:
    """True for a .csv, a header that names tokens and tags, and rows that end in a comma and a tag."""
    lines = [line.removesuffix("\r") for line in text.split("\n", N_SAMPLED)[:N_SAMPLED] if line.strip()]
    if not lines or text.lstrip()[:1] in ("{", "["):
        return False
    delimiter = _delimiter(lines[0])
    names = _names(lines[0], delimiter)
    if _find(names, TOKENS) >= 0 and _find(names, TAGS) >= 0:
        return True
    ends = [line.rpartition(delimiter)[2].strip('"') for line in lines]
    has_tags = delimiter != "\t" and len(names) > 1 and 2 * sum(map(is_tag, ends)) > len(lines)
    return (path.suffix.lower() == ".csv" and len(names) > 1) or has_tags


def _delimiter(line: str) -> str:
    """The character that separates the most fields of a line."""
    return max("\t,;|", key=lambda delimiter: len(_names(line, delimiter)))


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # such as a CR inside the line
        return []


def _find(names: list[str], known: tuple[str, ...]) -> int:
    """The index of the first of the known names; -1 if none is there."""
    return next((names.index(name) for name in known if name in names), -1)


def read_table(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads token and tags from the columns that `reading.columns` names or numbers.

    Without them, the header's names of tokens and tags decide; without a header, the first and last column.
    A sentence ends where a column of sentences changes, and at empty lines.  DataError names the line of the
    first row that is not like the others.
    """
    path = Path(path)
    lines, content = read_content_lines(path, reading.encoding)
    rows = list(_rows(path, lines))
    if not rows:
        raise DataError(f"{path}: no sentence, expected one token a line")
    number, first = rows[0]
    names = [] if any(is_tag(cell) for cell in first[1:]) else [name.strip() for name in first]
    chosen = _choose(path, number, names, first, reading)
    rows = rows[bool(names) :]
    repeated = [number for number, row in rows if names and row == first]  # of files joined by `cat`
    rows = [item for item in rows if not names or item[1] != first]
    if not rows:
        raise DataError(f"{path}:{number}: a header without rows, expected one token a line")
    _refuse_json(path, rows[0], chosen)
    keys = [i for i, name in enumerate(names) if _SENTENCE.search(name) and i not in chosen]
    keys = keys or _sentence_column(rows, names, chosen)
    notes = (
        [f"header: token {names[chosen[0]]!r}, tag {', '.join(repr(names[i]) for i in chosen[1:])}"]
        if names
        else []
    )
    if keys:
        notes.append(f"sentences end where {' or '.join(repr(names[i] or i + 1) for i in keys)} changes")
    notes += note_lines(repeated, "skipped", "repeated header")
    blocks = _make_blocks(path, rows, chosen, keys)
    return make_document(path, content, blocks, reading, notes)


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every row that is not empty; each has as many fields as the first."""
    head = next((line for line in lines if line.strip()), "")
    delimiter = _delimiter(head)
    quoting = csv.QUOTE_MINIMAL if _is_quoted(lines, delimiter) else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=quoting == csv.QUOTE_MINIMAL)
    n_fields, number = 0, 0
    try:
        for row in reader:
            if reader.line_num != number + 1:
                got = f"CSV whose quoted field ends in line {reader.line_num}"
                raise DataError(f"{path}:{number + 1}: {got}, expected one row a line")
            number += 1
            if any(cell.strip() for cell in row) or (len(row) > 1 and delimiter == "\t" and row[0]):
                n_fields = n_fields or len(row)
                if len(row) != n_fields:
                    expected = f"expected {n_fields} as in its first row"
                    raise DataError(f"{path}:{number}: CSV with {len(row)} fields, {expected}")
                yield number, row
    except csv.Error as error:
        raise DataError(f"{path}:{number + 1}: not CSV, {error}") from None


def _is_quoted(lines: list[str], delimiter: str) -> bool:
    """False for columns between TABs in which a quotation mark is a token, as in `"\tO`."""
    if delimiter != "\t":
        return True
    reader, n_rows = csv.reader(lines, delimiter=delimiter, strict=True), 0
    try:
        n_rows = sum(1 for _ in reader)
    except csv.Error:
        return False
    return n_rows == len(lines)


def _choose(path: Path, number: int, names: list[str], first: list[str], reading: Reading) -> list[int]:
    """Indices of the column of tokens and of those of tags; DataError if the header does not name them."""
    if reading.columns:
        named = [names.index(c) + 1 if isinstance(c, str) and c in names else c for c in reading.columns]
        unknown = next((name for name in named if isinstance(name, str)), None)
        if unknown is not None and names:
            raise DataError(f"{path}:{number}: no column {unknown!r}, expected one of {', '.join(names)}")
        return column_indices(path, tuple(named), len(first))
    if not names:
        return column_indices(path, (1, -1), len(first))
    lowered = [name.lower() for name in names]
    chosen = [_find(lowered, TOKENS), _find(lowered, TAGS)]
    if -1 in chosen:
        got = f"CSV with the columns {excerpt(', '.join(names))}"
        raise DataError(
            f"{path}:{number}: {got}, expected one of tokens and one of tags; --columns TOKEN TAG names them"
        )
    return chosen


def _refuse_json(path: Path, row: tuple[int, list[str]], chosen: list[int]) -> None:
    """DataError for a spreadsheet of texts with spans, such as Label Studio's export as CSV."""
    number, cells = row
    if _JSON.match(cells[chosen[1]]) and len(cells[chosen[1]]) > 1:
        got = f"CSV with an array or an object {cells[chosen[1]][:30]!r} in place of a tag"
        raise DataError(f"{path}:{number}: {got}, expected one token a row; Label Studio exports JSON too")


def _sentence_column(rows: list[tuple[int, list[str]]], names: list[str], chosen: list[int]) -> list[int]:
    """The first column if it groups the rows: every value stands in one run of rows, some in several rows."""
    if 0 in chosen or not names or not names[0]:
        return []
    runs, before = [], None
    for _, row in rows:
        if row[0] and row[0] != before:
            runs.append(before := row[0])
    return [0] if len(runs) == len(set(runs)) < len(rows) else []


def _make_blocks(
    path: Path, rows: list[tuple[int, list[str]]], chosen: list[int], keys: list[int]
) -> list[Block]:
    blocks: list[Block] = []
    previous, values = -1, [""] * len(keys)
    for number, row in rows:
        now = [row[i].strip() or value for i, value in zip(keys, values, strict=True)]
        if number != previous + 1 or now != values:
            blocks.append(Block(number, [], [[] for _ in chosen[1:]]))
        previous, values = number, now
        if not row[chosen[0]]:
            raise DataError(f"{path}:{number}: empty token, expected one in column {chosen[0] + 1}")
        blocks[-1].tokens.append(row[chosen[0]])
        for tags, column in zip(blocks[-1].tags, chosen[1:], strict=True):
            tags.append(row[column].strip())
    return blocks


FORMAT = Format("tokens", read_table, looks_like, expects="a header that names tokens and tags")
