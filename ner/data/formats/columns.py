"""One token a line, its tag in the last column, white space between sentences: two columns, or CoNLL's more.

A line with a TAB is cut at the TABs, so that a token may be a space; any other line at runs of spaces.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ner.annotations.spans import tag_set_of
from ner.data.formats.document import Document, IllegalTag, Lines, count_of, read_lines
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import TagSet, spans_to_tags

DOCUMENT_START = "-DOCSTART-"


class _Block(NamedTuple):
    """The lines of one sentence: `tags` is empty where there is one column."""

    first_line: int
    tokens: list[str]
    tags: list[str]


def read_bio(path: str | Path, *, scheme: str | None = None, encoding: str = "utf-8") -> Document:
    """Two columns, token and tag; or one column throughout: the file is not annotated.

    `scheme` states how the tags are to be read; None guesses it from their prefixes.  Raises DataError
    with the line where the number of columns changes, a token is empty or a tag is none.
    """
    text = read_lines(path, encoding)
    n_columns = _first_width(text.lines)
    if n_columns > 2:
        raise DataError(_ragged(path, text.lines, 2))
    blocks, _ = _read_blocks(path, text.lines, max(n_columns, 1))
    if n_columns < 2:
        sentences = [Sentence.with_spans(tuple(block.tokens), None) for block in blocks]
        return Document(Path(path), sentences, _starts(blocks), [], text.notes, text.sha256, None)
    return _annotated(path, text, blocks, scheme)


def read_conll(
    path: str | Path,
    *,
    scheme: str | None = None,
    columns: tuple[int, int] = (1, -1),
    encoding: str = "utf-8",
) -> Document:
    """Two or more columns, as many in every row; `-DOCSTART-` rows are skipped.

    `columns` are those of token and tag, counted from 1, or from -1 for the last.
    """
    text = read_lines(path, encoding)
    n_columns = _first_width(text.lines, skip=DOCUMENT_START)
    if n_columns == 1:
        number = next(i for i, row in _rows(text.lines) if row[0] != DOCUMENT_START)
        raise DataError(f"{path}:{number}: 2 or more columns expected, got 1")
    for column in columns:
        if n_columns and not 1 <= abs(column) <= n_columns:
            raise DataError(f"{path}: no column {column}, expected 1 to {n_columns} or -1 to -{n_columns}")
    chosen = tuple(column - (column > 0) for column in columns)
    blocks, n_skipped = _read_blocks(path, text.lines, n_columns, chosen, skip=DOCUMENT_START)
    if n_skipped:
        text.notes.append(f"{count_of(n_skipped, DOCUMENT_START + ' line')} skipped")
    return _annotated(path, text, blocks, scheme)


def split_columns(line: str) -> list[str]:
    """The columns of a line, as the head of this file says."""
    if "\t" not in line:
        return [column for column in line.split(" ") if column]
    columns = line.split("\t")
    columns[-1] = columns[-1].strip(" ")
    return columns


def _rows(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line from 1, columns) of the lines that are not white space."""
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            yield number, split_columns(line)


def _first_width(lines: list[str], *, skip: str | None = None) -> int:
    return next((len(row) for _, row in _rows(lines) if row[0] != skip), 0)


def _read_blocks(
    path: str | Path,
    lines: list[str],
    n_columns: int,
    columns: tuple[int, int] = (0, -1),
    *,
    skip: str | None = None,
) -> tuple[list[_Block], int]:
    """The sentences, and the number of rows skipped because they begin with `skip`."""
    blocks: list[_Block] = []
    known: dict[str, str] = {}  # one object a distinct string: millions of tokens, thousands of characters
    line_before, n_skipped = -1, 0
    for number, row in _rows(lines):
        if row[0] == skip:
            n_skipped += 1
            continue
        if len(row) != n_columns:
            raise DataError(_ragged(path, lines, max(n_columns, 2), skip=skip))
        token = row[columns[0]]
        if not token:
            raise DataError(f"{path}:{number}: empty token, expected a token before the TAB")
        if number != line_before + 1:
            blocks.append(_Block(number, [], []))
        blocks[-1].tokens.append(known.setdefault(token, token))
        if n_columns > 1:
            blocks[-1].tags.append(known.setdefault(row[columns[1]], row[columns[1]]))
        line_before = number
    if not blocks:
        raise DataError(f"{path}: no sentence, expected one token a line")
    return blocks, n_skipped


def _ragged(path: str | Path, lines: list[str], expected: int, *, skip: str | None = None) -> str:
    """The message for the first row that has not the expected number of columns."""
    widths = [(number, len(row)) for number, row in _rows(lines) if row[0] != skip]
    number, got = next((number, width) for number, width in widths if width != expected)
    message = f"{path}:{number}: {expected} columns expected, got {got}"
    if "\r" in lines[number - 1]:
        return f"{message}; the line holds a CR, and lines end at LF or CR LF only"
    if skip is None and got > 2 and all(width == got for _, width in widths):
        return f"{message} in every row; --format conll reads such files"
    first_as_expected = next((number for number, width in widths if width == expected), 0)
    return f"{message}; line {first_as_expected} has {expected}" if first_as_expected > number else message


def _starts(blocks: list[_Block]) -> list[int]:
    return [block.first_line for block in blocks]


def _annotated(path: str | Path, text: Lines, blocks: list[_Block], scheme: str | None) -> Document:
    kinds = _tag_set(path, blocks, scheme)
    sentences, illegal = [], []
    for block in blocks:
        ids = [kinds.index[tag] for tag in block.tags]
        sentences.append(Sentence.with_spans(tuple(block.tokens), tuple(kinds.spans(ids))))
        for position in kinds.illegal_positions(ids):
            illegal.append(IllegalTag(block.first_line + position, block.tags[position]))
    notes = [*text.notes, *_scheme_note(sentences, illegal, kinds, stated=scheme is not None)]
    return Document(Path(path), sentences, _starts(blocks), illegal, notes, text.sha256, kinds.scheme)


def _tag_set(path: str | Path, blocks: list[_Block], scheme: str | None) -> TagSet:
    first_seen: dict[str, int] = {}
    for block in blocks:
        for position, tag in enumerate(block.tags):
            if tag not in first_seen:
                first_seen[tag] = block.first_line + position
    kinds = tag_set_of(first_seen, path, scheme)
    for tag, number in first_seen.items():
        if any(character.isspace() for character in tag):
            raise DataError(f"{path}:{number}: tag {tag[:60]!r}, expected a tag without white space")
    return kinds


def _scheme_note(
    sentences: list[Sentence], illegal: list[IllegalTag], kinds: TagSet, *, stated: bool
) -> Iterator[str]:
    if stated:
        return
    n_entities = sum(len(sentence.spans) for sentence in sentences)
    if kinds.scheme == "BIO" and len(illegal) > n_entities / 2:
        yield f"{len(illegal):,} of {n_entities:,} entities begin with I-: --scheme IOB1 makes that legal"
    elif kinds.scheme != "BIO":
        yield f"tags are read as {kinds.scheme}"
    if kinds.scheme == "BIOES" and illegal and not any(tag.startswith("S-") for tag in kinds.tags):
        yield "no S- among the tags: --scheme BIE makes a B- alone legal"


def write_columns(path: str | Path, document: Document, *, scheme: str) -> None:
    """Token TAB tag, or the token alone where not annotated; DataError at one that cannot stand so."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        if document.sentences[0].tokens[0].startswith("\ufeff"):
            file.write("\ufeff")  # the reader takes the first for a byte order mark
        for sentence, line in zip(document.sentences, document.first_lines, strict=True):
            for token in sentence.tokens:
                alone = sentence.spans is None and (" " in token or token.isspace() or token[-1] == "\r")
                if "\t" in token or "\n" in token or alone:
                    raise DataError(
                        f"{document.path}:{line}: token {token!r}, expected one that can stand in a column; "
                        "--split_lines ends sentences at line ends"
                    )
            if sentence.spans is None:
                rows = sentence.tokens
            else:
                tags = spans_to_tags(sentence.spans, len(sentence.tokens), scheme)
                rows = [f"{token}\t{tag}" for token, tag in zip(sentence.tokens, tags, strict=True)]
            file.write("".join(f"{row}\n" for row in rows) + "\n")
