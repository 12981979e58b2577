"""Files with one token a line and its tag in another column, such as `北 B-LOC`: bio and conll.

White space separates the sentences.  A line with a TAB is split at the TABs, so that a token may be a space;
any other line at runs of spaces.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from sys import intern
from typing import NamedTuple

from ner.annotations.spans import tag_set_of
from ner.data.formats.content import Content, read_content_lines
from ner.data.formats.document import DEFAULTS, Document, Format, Reading
from ner.data.sentence import Sentence
from ner.data.wording import count_noun
from ner.errors import DataError
from ner.tags import TagSet, spans_to_tags, split_tag

DOCUMENT_START = "-DOCSTART-"


class Block(NamedTuple):
    """The lines of one sentence; `tags` is empty if the file has only one column."""

    first_line: int
    tokens: list[str]
    tags: list[str]


def _split_columns(line: str) -> list[str]:
    """The columns of a line: split at TABs if it has one, else at runs of spaces."""
    if "\t" not in line:
        return [column for column in line.split(" ") if column]
    columns = line.split("\t")
    columns[-1] = columns[-1].strip(" ")
    return columns


def _first_columns(text: str) -> list[str]:
    """The columns of the first line of a text that is not empty."""
    return _split_columns(text.lstrip("\r\n").partition("\n")[0].removesuffix("\r"))


def begins_with_tagged_token(text: str) -> bool:
    """True if the first line of a text has several columns, and the last is a tag such as O or B-LOC."""
    columns = _first_columns(text)
    try:
        return len(columns) > 1 and bool(split_tag(columns[-1]))
    except ValueError:
        return False


def _rows(lines: list[str], skip: str | None) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, columns) of every line that is not white space and does not begin with `skip`."""
    for number, line in enumerate(lines, start=1):
        if line and not line.isspace():
            row = _split_columns(line)
            if row[0] != skip:
                yield number, row


def _first_row(lines: list[str], *, skip: str | None = None) -> tuple[int, int]:
    """Line and number of columns of the first row that does not begin with `skip`; 0 if there is none."""
    return next(((number, len(row)) for number, row in _rows(lines, skip)), (0, 0))


def _read_blocks(
    path: str | Path, lines: list[str], n_columns: int, columns=(0, -1), *, skip: str | None = None
) -> list[Block]:
    """The sentences, without rows that begin with `skip`; `columns` are the indices of token and tag.

    DataError if a row has another number of columns, if a token is empty, or if the file has no sentence.
    """
    blocks: list[Block] = []
    previous_line = -1
    for number, row in _rows(lines, skip):
        if len(row) != n_columns:
            raise DataError(_describe_wrong_row(path, lines, max(n_columns, 2), skip=skip))
        if n_columns > 2 and "\r" in lines[number - 1]:  # a whole file that ends its lines with CR alone
            raise DataError(f"{path}:{number}: the line holds a CR, expected lines that end at LF or CR LF")
        token = row[columns[0]]
        if not token:
            raise DataError(f"{path}:{number}: empty token, expected a token before the TAB")
        if number != previous_line + 1:
            blocks.append(Block(number, [], []))
        blocks[-1].tokens.append(intern(token))  # millions of tokens share a few thousand distinct strings
        if n_columns > 1:
            blocks[-1].tags.append(intern(row[columns[1]]))
        previous_line = number
    if not blocks:
        raise DataError(f"{path}: no sentence, expected one token a line")
    return blocks


def _describe_wrong_row(path: str | Path, lines: list[str], expected: int, *, skip: str | None = None) -> str:
    """The error message for the first row with another number of columns than `expected`."""
    counts = [(number, len(row)) for number, row in _rows(lines, skip)]
    number, got = next((number, n) for number, n in counts if n != expected)
    message = f"{path}:{number}: {expected} columns expected, got {got}"
    if "\r" in lines[number - 1]:
        return f"{message}; the line holds a CR, and lines end at LF or CR LF only"
    if skip is None and got > 2 and all(n == got for _, n in counts):
        return f"{message} in every row; --format conll reads such files"
    first_as_expected = next((number for number, n in counts if n == expected), 0)
    return f"{message}; line {first_as_expected} has {expected}" if first_as_expected > number else message


def _make_document(path: str | Path, content: Content, blocks: list[Block], scheme) -> Document:
    """A document whose tags, if it has any, are read under `scheme`; DataError names the first wrong one."""
    first_seen: dict[str, int] = {}
    for block in blocks:
        for number, tag in enumerate(block.tags, start=block.first_line):
            first_seen.setdefault(tag, number)
    tag_set = tag_set_of(first_seen, path, scheme)
    for tag, number in first_seen.items():
        if "\r" in tag:
            raise DataError(f"{path}:{number}: tag {tag[:60]!r}, expected a tag without CR")
    sentences, illegal = _read_tags(blocks, tag_set)
    notes = content.notes
    if scheme is None:
        n_entities = sum(len(sentence.spans or ()) for sentence in sentences)
        if 2 * len(illegal) > n_entities:  # a scheme that forbids most entities is not the file's
            tag_set = tag_set.best_fit([tag_set.index[tag] for tag in block.tags] for block in blocks)
            sentences, illegal = _read_tags(blocks, tag_set)
        notes = [*notes, *_scheme_notes(illegal, tag_set)]
    starts = [block.first_line for block in blocks]
    known = tag_set.scheme if first_seen else None
    return Document(Path(path), sentences, starts, illegal, notes, content.sha256, known)


def _read_tags(blocks: list[Block], tag_set: TagSet) -> tuple[list[Sentence], list[tuple[int, str]]]:
    """The sentences, and (line, tag) of each tag that is illegal where it stands."""
    sentences, illegal = [], []
    for block in blocks:
        ids = [tag_set.index[tag] for tag in block.tags]
        sentences.append(Sentence.with_spans(block.tokens, tag_set.spans(ids) if block.tags else None))
        illegal += [(block.first_line + i, block.tags[i]) for i in tag_set.illegal_positions(ids)]
    return sentences, illegal


def _scheme_notes(illegal: list, tag_set: TagSet) -> Iterator[str]:
    """Notes on a guessed scheme, and on a scheme that would fit the illegal tags."""
    if tag_set.scheme != "BIO":
        yield f"tags are read as {tag_set.scheme}"
    if tag_set.scheme == "BIOES" and illegal and not any(tag.startswith("S-") for tag in tag_set.tags):
        yield "no S- among the tags: --scheme BIE makes a B- alone legal"


def read_bio(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads two columns, or one column throughout if the file is not annotated.

    DataError with the line if the number of columns changes, a token is empty, or a tag is not one of the
    scheme.
    """
    lines, content = read_content_lines(path, reading.encoding)
    _, n_columns = _first_row(lines)
    if n_columns > 2:
        raise DataError(_describe_wrong_row(path, lines, 2))
    return _make_document(path, content, _read_blocks(path, lines, max(n_columns, 1)), reading.scheme)


def read_conll(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads token and tag from `reading.columns`; by default from the first and the last column.

    DataError as in `read_bio`, and if a chosen column does not exist.
    """
    lines, content = read_content_lines(path, reading.encoding)
    number, n_columns = _first_row(lines, skip=DOCUMENT_START)
    if n_columns == 1:
        raise DataError(f"{path}:{number}: 2 or more columns expected, got 1")
    chosen = reading.columns or (1, -1)
    for column in chosen:
        if n_columns and not 1 <= abs(column) <= n_columns:
            raise DataError(f"{path}: no column {column}, expected 1 to {n_columns} or -1 to -{n_columns}")
    indices = tuple(column - 1 if column > 0 else column for column in chosen)
    blocks = _read_blocks(path, lines, n_columns, indices, skip=DOCUMENT_START)
    n_skipped = sum(_split_columns(line)[0] == DOCUMENT_START for line in lines if DOCUMENT_START in line)
    if n_skipped:
        content.notes.append(f"{count_noun(n_skipped, DOCUMENT_START + ' line')} skipped")
    return _make_document(path, content, blocks, reading.scheme)


def looks_like_conll(path: Path, text: str) -> bool:
    """True if the first line has more than two columns or begins with `-DOCSTART-`."""
    columns = _first_columns(text)
    return len(columns) > 2 or columns[:1] == [DOCUMENT_START]


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


# bio is the guess if no other format fits
BIO = Format("tokens", read_bio, lambda path, text: True, partial(write_columns, scheme="BIO"))
BIOES = BIO._replace(writer=partial(write_columns, scheme="BIOES"))
CONLL = Format("tokens", read_conll, looks_like_conll)
