"""Raw text, one text a line, without annotation: text."""

import re
from pathlib import Path
from statistics import median

from ner.data.formats.content import read_content_lines
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, Reading, Texts
from ner.data.formats.objects import looks_like_json
from ner.data.formats.rows import is_tag
from ner.data.words import split_words
from ner.errors import DataError

N_SAMPLED = 200  # lines from which the format is guessed
_SYMBOL = re.compile(r"[|<>{}\[\]=#_/\\~^*@&$+]")


def looks_like(path: Path, text: str) -> bool:
    """True for lines of several words with hardly any symbol, so that no annotation can stand in them."""
    lines = [line for line in text.split("\n", N_SAMPLED)[:N_SAMPLED] if line.strip()]
    items = [item for line in lines for item in line.split()]
    if not lines or "\t" in text or sum(map(is_tag, items)) * 10 > len(items):
        return False
    if 2 * sum(len(item) == 1 for item in items) > len(items):  # characters with spaces between
        return False
    n_symbols = sum(len(_SYMBOL.findall(line)) for line in lines)
    return median(len(split_words(line, "word")) for line in lines) >= 4 and 50 * n_symbols <= sum(
        map(len, lines)
    )


def read_plain(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Every line that is not white space is a text without annotation."""
    path = Path(path)
    lines, content = read_content_lines(path, reading.encoding)
    if looks_like_json(path, "\n".join(lines[:N_SAMPLED])):
        raise DataError(f"{path}:1: got JSON, {lines[0][:60]}, expected raw text, one sentence a line")
    texts = [AnnotatedText(path, i, line, None) for i, line in enumerate(lines, start=1) if line.strip()]
    return Texts(path, texts, [*content.notes, "raw text without tags, one sentence a line"], content.sha256)


FORMAT = Format("texts", read_plain, looks_like, expects="lines of words, with hardly any symbol")
