"""Lines of columns as the tokens and tags of sentences, without the lines that hold no token."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import NamedTuple

from ner.data.wording import count_noun, note_lines
from ner.errors import DataError
from ner.tags import split_tag

DOCUMENT_START = "-DOCSTART-"


class Block(NamedTuple):
    """The tokens of one sentence; `tags` has a list for each column of tags, none without such columns.

    Each token has a line of its own, or all stand on the first one.
    """

    first_line: int
    tokens: list[str]
    tags: list[list[str]]
    one_line: bool = False

    def line_of(self, i: int) -> int:
        """The line of token i, from 1."""
        return self.first_line if self.one_line else self.first_line + i


@dataclass(frozen=True)
class Layout:
    """Where the rows of a file hold token and tags, as indices, and which rows hold no token."""

    n_columns: int
    token: int = 0
    tags: tuple[int, ...] = ()
    scheme: str | None = None
    skips_starts: bool = False
    has_ids: bool = False
    "the first column numbers the tokens, as in CoNLL-U"

    def skips(self, row: list[str]) -> str:
        """What a row is that holds no token; empty for any other row."""
        first = row[0]
        if first.startswith("#") and not self._is_like_others(row):
            return "comment line"
        if self.skips_starts and first == DOCUMENT_START:
            return f"{DOCUMENT_START} line"
        if self.has_ids and re.fullmatch(r"\d+[-.]\d+", first):
            return "line with an id such as 1-2 or 8.1"
        return ""

    def _is_like_others(self, row: list[str]) -> bool:
        """True if a row that begins with # has as many columns as others, and tags."""
        if len(row) != self.n_columns:
            return False
        return all(self.scheme == "IO" or is_tag(row[column]) for column in self.tags)


def is_tag(cell: str) -> bool:
    """True for a tag such as O, B or B-LOC."""
    try:
        return bool(split_tag(cell))
    except ValueError:
        return False


def several_tags(cell: str) -> list[str]:
    """The tags of a cell that holds more than one, such as `B-a,B-b` or `B-a B-b`; else nothing."""
    parts = re.split(r"[,;|/]", cell)
    if len(parts) == 1:
        parts = cell.split() if cell.count("-") > 1 else []  # white space may also be part of a label
        return parts if len(parts) > 1 and all(is_tag(part) and "-" in part for part in parts) else []
    return parts if all(map(is_tag, parts)) else []


def split_columns(line: str) -> list[str]:
    """The columns of a line: split at TABs if it has one, else at runs of spaces."""
    if "\t" not in line:
        return [column for column in line.split(" ") if column]
    columns = line.split("\t")
    columns[-1] = columns[-1].strip(" ")
    return columns


def rows(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, columns) of every line that is not white space."""
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            yield number, split_columns(line)


def first_row(lines: list[str], *, skip: str | None = None) -> tuple[int, list[str]]:
    """The first row that begins neither with `skip` nor with #; else the first; (0, []) if there is none."""
    found = (item for item in rows(lines) if item[1][0] != skip)
    first = next(found, (0, []))
    if not first[1] or not first[1][0].startswith("#"):
        return first
    return next((item for item in found if not item[1][0].startswith("#")), first)


def read_blocks(path: str | Path, lines: list[str], layout: Layout) -> tuple[list[Block], list[str]]:
    """The sentences, and notes on what was skipped or assumed.

    DataError if a row has another number of columns, if a token is empty, or if the file has no sentence.
    """
    blocks: list[Block] = []
    skipped: Counter[str] = Counter()
    spaces: list[int] = []
    previous_line, n_columns, place = -1, layout.n_columns, layout.token
    columns = list(enumerate(layout.tags))
    suspects = "#" + DOCUMENT_START[:1] * layout.skips_starts + "0123456789" * layout.has_ids
    for number, row in rows(lines):
        if row[0][:1] in suspects and (kind := layout.skips(row)):
            skipped[kind] += 1
            continue
        if len(row) != n_columns:
            row = _with_space(lines[number - 1], row, layout)
            spaces.append(number)
        if not row:
            raise DataError(describe_wrong_row(path, lines, layout))
        if n_columns > 2 and "\r" in lines[number - 1]:  # a whole file that ends its lines with CR alone
            raise DataError(f"{path}:{number}: the line holds a CR, expected lines that end at LF or CR LF")
        token = row[place]
        if not token:
            raise DataError(f"{path}:{number}: empty token, expected a token before the TAB")
        if number != previous_line + 1:
            blocks.append(Block(number, [], [[] for _ in layout.tags]))
        blocks[-1].tokens.append(intern(token))  # millions of tokens share a few thousand distinct strings
        for i, column in columns:
            blocks[-1].tags[i].append(intern(row[column]))
        previous_line = number
    if not blocks:
        raise DataError(f"{path}: no sentence, expected one token a line")
    counts = (count_noun(n, kind, kind.replace("line", "lines")) for kind, n in sorted(skipped.items()))
    notes = [f"{n_lines} skipped" for n_lines in counts]
    return blocks, notes + note_lines(
        spaces, "read as a token of white space", "line that begins with spaces"
    )


def _with_space(line: str, row: list[str], layout: Layout) -> list[str]:
    """The columns of `  O`, whose token is a space and whose columns are separated by one; else none."""
    n_spaces = len(line) - len(line.lstrip(" "))
    if layout.token or "\t" in line or n_spaces < 2 or len(row) + 1 != layout.n_columns:
        return []
    return [" " * (n_spaces - 1), *row]


def describe_wrong_row(path: str | Path, lines: list[str], layout: Layout) -> str:
    """The error message for the first row with another number of columns than the others, or than 2."""
    expected = max(layout.n_columns, 2)
    counts = [(number, len(row)) for number, row in rows(lines) if not layout.skips(row)]
    number, got = next((number, n) for number, n in counts if n != expected)
    message = f"{path}:{number}: {expected} columns expected, got {got}"
    if "\r" in lines[number - 1]:
        return f"{message}; the line holds a CR, and lines end at LF or CR LF only"
    first_as_expected = next((number for number, n in counts if n == expected), 0)
    return f"{message}; line {first_as_expected} has {expected}" if first_as_expected > number else message
