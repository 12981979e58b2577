"""Files with one token a line and its tag in another column, such as `北 B-LOC`: bio and conll.

White space separates the sentences.  A line with a TAB is split at the TABs, so that a token may be a space;
any other line at runs of spaces.  A line that begins with # and lacks the columns of the others is a comment.
"""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ner.data.formats.content import read_content_lines
from ner.data.formats.document import DEFAULTS, Document, Format, Reading
from ner.data.formats.rows import (
    DOCUMENT_START,
    Block,
    Layout,
    describe_wrong_row,
    first_row,
    is_tag,
    read_blocks,
    rows,
    split_columns,
)
from ner.data.formats.tagged import make_document
from ner.errors import DataError
from ner.tags import spans_to_tags

CHOOSE = "; --columns TOKEN TAG chooses others, as in --columns 2 -1"
N_SAMPLED = 200  # lines from which a format is guessed


def begins_with_tagged_token(text: str) -> bool:
    """True if the first line of a text has several columns, and the last is a tag such as O or B-LOC."""
    columns = split_columns(text.lstrip("\r\n").partition("\n")[0].removesuffix("\r"))
    return len(columns) > 1 and is_tag(columns[-1])


def read_bio(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads two columns, or one column throughout if the file is not annotated.

    DataError with the line if the number of columns changes, a token is empty, or a tag is not one of the
    scheme.
    """
    lines, content = read_content_lines(path, reading.encoding)
    number, row = first_row(lines)
    if len(row) > 2:
        message = describe_wrong_row(path, lines, Layout(2))
        is_conll = "\r" not in lines[number - 1] and all(len(other) == len(row) for _, other in rows(lines))
        raise DataError(f"{message} in every row; --format conll reads such files" if is_conll else message)
    layout = Layout(max(len(row), 1), tags=(1,) if len(row) == 2 else (), scheme=reading.scheme)
    blocks, notes = read_blocks(path, lines, layout)
    check_columns(path, blocks, layout, reading)
    return make_document(path, content, blocks, reading, notes)


def read_conll(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads token and tags from `reading.columns`; by default from the first and the last column.

    DataError as in `read_bio`, and if a chosen column does not exist.
    """
    lines, content = read_content_lines(path, reading.encoding)
    number, row = first_row(lines, skip=DOCUMENT_START)
    if len(row) == 1:
        raise DataError(f"{path}:{number}: 2 or more columns expected, got 1")
    token, *tags = column_indices(path, reading.columns or (1, -1), len(row))
    has_ids = token > 0 and row[0].partition("-")[0] in ("0", "1")
    has_ids = has_ids and any(other[0].isdecimal() for _, other in rows(lines))  # not WebAnno's 1-1, 1-2
    layout = Layout(len(row), token, tuple(tags), reading.scheme, skips_starts=True, has_ids=has_ids)
    blocks, notes = read_blocks(path, lines, layout)
    check_columns(path, blocks, layout, reading)
    return make_document(path, content, blocks, reading, notes)


def parse_columns(arguments: Iterable[str]) -> tuple[int | str, ...]:
    """`2`, `3,4` -> (2, 3, 4); names stay."""
    items = [item for argument in arguments for item in argument.split(",")]
    return tuple(int(item) if re.fullmatch(r"-?\d+", item) else item for item in items)


def column_indices(path: str | Path, chosen: tuple[int | str, ...], n_columns: int) -> list[int]:
    """The columns, counted from 1 or from -1 for the last, as indices from 0."""
    for column in chosen:
        if isinstance(column, str):
            raise DataError(f"{path}: no column {column!r}, expected a number: no header names the columns")
        if n_columns and not 1 <= abs(column) <= n_columns:
            raise DataError(f"{path}: no column {column}, expected 1 to {n_columns} or -1 to -{n_columns}")
    return [column - 1 if column > 0 else max(n_columns, 1) + column for column in chosen]


def check_columns(path: str | Path, blocks: list[Block], layout: Layout, reading: Reading) -> None:
    """DataError if a column of tags holds one value that is no tag, or if the first column holds no tokens.

    The first column is not refused if `reading.columns` states it.
    """
    for i, column in enumerate(layout.tags):
        values = {tag for block in blocks for tag in block.tags[i]}
        if len(values) == 1 and not is_tag(value := values.pop()) and not (reading.scheme and value):
            got = f"{value!r} in every row" if value else "empty in every row"
            raise DataError(
                f"{path}:{blocks[0].first_line}: column {column + 1} is {got}, expected tags{CHOOSE}"
            )
    several = [block.tokens for block in blocks if len(block.tokens) > 1]
    may_be_numbers = several and (several[0][0][0].isdecimal() or len(set(several[0])) == 1)
    if reading.columns or not layout.tags or not may_be_numbers:
        return
    numbers = [[token for token in tokens if token.isdecimal()] for tokens in several]
    others = {token for tokens in several for token in tokens if not token.isdecimal()}
    is_count = all(map(re.compile(r"\d+[-.]\d+").fullmatch, others)) and any(
        all(row == list(map(str, range(first, first + len(row)))) for row in numbers) for first in (0, 1)
    )
    if is_count or (layout.n_columns > 2 and all(len(set(tokens)) == 1 for tokens in several)):
        got = "counts the rows" if is_count else "is the same in all rows of a sentence"
        raise DataError(f"{path}:{blocks[0].first_line}: column 1 {got}, expected tokens{CHOOSE}")


def looks_like_columns(text: str, n_columns: int | None = None) -> bool:
    """True if most of the first rows have the same number of columns, and several columns a tag somewhere."""
    lines = [line.removesuffix("\r") for line in text.split("\n", N_SAMPLED)[:N_SAMPLED]]
    first = len(first_row(lines, skip=DOCUMENT_START)[1])
    found = [row for _, row in rows(lines) if not row[0].startswith("#")]
    same = [row for row in found if len(row) == first]
    if 2 * len(same) < len(found) or (n_columns and first > n_columns):
        return False
    return first < 2 or not found or any(map(is_tag, (cell for row in same for cell in row)))


def looks_like_conll(path: Path, text: str) -> bool:
    """True if there are more than two columns, or `-DOCSTART-` first."""
    starts = text.lstrip().startswith(DOCUMENT_START)
    return looks_like_columns(text) and (starts or not looks_like_columns(text, 2))


def looks_like_bio(path: Path, text: str) -> bool:
    return looks_like_columns(text, 2)


def write_columns(path: str | Path, document: Document, *, scheme: str) -> None:
    """Writes `token TAB tag` a line, or only the token if the document is not annotated.

    DataError if a token or a label cannot be read back from its column.
    """
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        is_first = True
        for sentence, line in zip(document.sentences, document.first_lines, strict=True):
            for token in sentence.tokens:
                if not _fits_column(token, annotated=sentence.spans is not None):
                    problem = f"token {token!r}, expected one that fits in a column"
                    remedy = "--split_lines ends sentences at line ends"
                    raise DataError(f"{document.path}:{line}: {problem}; {remedy}")
            for _, _, label in sentence.spans or ():
                if not _fits_column(label, annotated=True) or "\r" in label or label != label.strip(" "):
                    problem = f"label {label!r}, expected one that fits in a column"
                    raise DataError(f"{document.path}:{line}: {problem}")
            if sentence.spans is None:
                lines = sentence.tokens
            else:
                tags = spans_to_tags(sentence.spans, len(sentence.tokens), scheme)
                lines = [f"{token}\t{tag}" for token, tag in zip(sentence.tokens, tags, strict=True)]
            for line in lines:
                # the reader skips U+FEFF as a byte order mark at the start of the file and of other lines
                is_skipped = line.startswith("\ufeff") and (is_first or line[1:2] != "\t")
                file.write(f"\ufeff{line}\n" if is_skipped else f"{line}\n")
                is_first = False
            file.write("\n")


def _fits_column(token: str, *, annotated: bool) -> bool:
    """True if the reader returns the token unchanged; without a TAB and a tag after it, spaces matter."""
    if "\t" in token or "\n" in token:
        return False
    return annotated or not (" " in token or token.isspace() or token[-1] == "\r")


BIO = Format(
    "tokens",
    read_bio,
    looks_like_bio,
    partial(write_columns, scheme="BIO"),
    expects="a token and its tag a line, or tokens alone",
)
BIOES = BIO._replace(writer=partial(write_columns, scheme="BIOES"))
BILOU = BIO._replace(writer=partial(write_columns, scheme="BILOU"))
CONLL = Format(
    "tokens", read_conll, looks_like_conll, expects="rows with the same number of columns, one of them tags"
)
