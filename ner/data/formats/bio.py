"""Two columns, token and tag, such as `北 B-LOC`; or only the token in a file that is not annotated."""

from functools import partial
from pathlib import Path

from ner.data.formats.columns import (
    count_columns,
    describe_wrong_row,
    document_of_tags,
    document_of_tokens,
    read_blocks,
    write_columns,
)
from ner.data.formats.document import Document, read_content_lines
from ner.data.formats.format import DEFAULTS, Format, Reading
from ner.errors import DataError


def looks_like(path: Path, text: str) -> bool:
    """True for every file: bio is the guess if no other format fits."""
    return True


def read_bio(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads two columns, or one column throughout if the file is not annotated.

    DataError with the line if the number of columns changes, a token is empty, or a tag is not one of the
    scheme.
    """
    content = read_content_lines(path, reading.encoding)
    n_columns = count_columns(content.lines)
    if n_columns > 2:
        raise DataError(describe_wrong_row(path, content.lines, 2))
    blocks, _ = read_blocks(path, content.lines, max(n_columns, 1))
    if n_columns < 2:
        return document_of_tokens(path, content, blocks)
    return document_of_tags(path, content, blocks, scheme=reading.scheme)


FORMAT = Format("tokens", read_bio, looks_like, partial(write_columns, scheme="BIO"))
BIOES = FORMAT._replace(writer=partial(write_columns, scheme="BIOES"))
