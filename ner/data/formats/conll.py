"""CoNLL: two or more columns, the same number in every row; rows that begin with `-DOCSTART-` are skipped."""

from pathlib import Path

from ner.data.formats.columns import (
    DOCUMENT_START,
    count_columns,
    document_of_tags,
    first_columns,
    read_blocks,
    rows,
)
from ner.data.formats.document import Document, read_content_lines
from ner.data.formats.format import DEFAULTS, Format, Reading
from ner.data.wording import count_noun
from ner.errors import DataError


def looks_like(path: Path, text: str) -> bool:
    """True if the first line has more than two columns or begins with `-DOCSTART-`."""
    columns = first_columns(text)
    return len(columns) > 2 or columns[:1] == [DOCUMENT_START]


def read_conll(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads token and tag from `reading.columns`; by default from the first and the last column.

    DataError as in `read_bio`, and if a chosen column does not exist.
    """
    content = read_content_lines(path, reading.encoding)
    n_columns = count_columns(content.lines, skip=DOCUMENT_START)
    if n_columns == 1:
        number = next(i for i, row in rows(content.lines) if row[0] != DOCUMENT_START)
        raise DataError(f"{path}:{number}: 2 or more columns expected, got 1")
    chosen = reading.columns or (1, -1)
    for column in chosen:
        if n_columns and not 1 <= abs(column) <= n_columns:
            raise DataError(f"{path}: no column {column}, expected 1 to {n_columns} or -1 to -{n_columns}")
    indices = tuple(column - 1 if column > 0 else column for column in chosen)
    blocks, n_skipped = read_blocks(path, content.lines, n_columns, indices, skip=DOCUMENT_START)
    if n_skipped:
        content.notes.append(f"{count_noun(n_skipped, DOCUMENT_START + ' line')} skipped")
    return document_of_tags(path, content, blocks, scheme=reading.scheme)


FORMAT = Format("tokens", read_conll, looks_like)
