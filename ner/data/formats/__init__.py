"""Readers and writers of annotated text.

A new format is a `Format` (see `document.py`) at the end of a file, and one line in `FORMATS`.
"""

from pathlib import Path

from ner.data.formats import brat, columns, jsonl, labelstudio, plain, tables, texts, tokens
from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, Document, Reading, Texts
from ner.data.formats.texts import to_document, to_texts
from ner.data.sentence import SPLITS
from ner.data.wording import excerpt
from ner.errors import DataError

# `guess_format` takes the first format that a file looks like, so special formats come before general ones
FORMATS = {
    "brat": brat.FORMAT,
    "labelstudio": labelstudio.FORMAT,
    "tokens": tokens.FORMAT,
    "cluener": jsonl.CLUENER,
    "jsonl": jsonl.JSONL,
    "csv": tables.FORMAT,
    "text": plain.FORMAT,
    "conll": columns.CONLL,
    "bio": columns.BIO,
}
# formats that can be written; BIOES and BILOU are read as bio, whose reader guesses the scheme of the tags
WRITABLE = {name: format for name, format in FORMATS.items() if format.writer}
WRITABLE |= {"bioes": columns.BIOES, "bilou": columns.BILOU}


def guess_format(path: str | Path, reading: Reading = DEFAULTS) -> str:
    """The name of the first format that the file looks like; with `reading.columns` it is conll or csv.

    DataError if it looks like none, with what each expects, or the problem that its reader meets.
    """
    path, text = Path(path), ""
    refuse_built(path)
    if path.is_dir() and any(path.rglob("*.txt")) and not any(path.rglob("*.ann")):
        expected = "expected pairs x.txt and x.ann; --format brat reads texts without annotation"
        raise DataError(f"{path}: a folder of .txt without any .ann, {expected}")
    if not path.is_dir():
        text = read_content(path, reading.encoding, exact=True).text.removeprefix("\ufeff")
    if reading.columns:
        is_csv = any(isinstance(column, str) for column in reading.columns) or tables.looks_like(path, text)
        return "csv" if is_csv else "conll"
    for name, format in FORMATS.items():
        if format.looks_like(path, text):
            return name
    if reading.scheme == "IO" or not text.strip():
        return "bio"
    reasons = "; ".join(f"{name}: {_why_not(path, name, reading)}" for name in FORMATS)
    line = next(line for line in text.split("\n") if line.strip())
    raise DataError(f"{path}:1: format not recognised, got {line[:60]!r}; tried {reasons}")


def _why_not(path: Path, name: str, reading: Reading) -> str:
    """The problem that a reader of tokens meets, or what a format of texts expects."""
    if FORMATS[name].holds == "tokens":
        try:
            FORMATS[name].reader(path, reading)
        except DataError as error:
            return excerpt("line " + str(error).removeprefix(f"{path}:").partition(", expected")[0])
    return f"expects {FORMATS[name].expects}"


def refuse_built(path: Path) -> None:
    """DataError for a data set that build_dataset.py made, its splits and their files."""
    if path.is_dir():
        is_built = any((path / name / "sentences.txt").exists() for name in (".", *SPLITS))
    else:
        files = ("sentences.txt", "tags.txt", "entities.jsonl")
        is_built = path.name in files and sum((path.parent / name).exists() for name in files) > 1
    if is_built:
        expected = "expected the annotated text that it was built from"
        raise DataError(f"{path}: of a data set that build_dataset.py made, {expected}")


def load(path: str | Path, name: str, reading: Reading = DEFAULTS) -> Document | Texts:
    """Reads a file of the format `name`; texts are checked, but not split into tokens.

    DataError if the file is malformed, if an option of `reading` does not apply to the format, or if
    entities overlap and `reading.overlaps` is `refuse`.
    """
    refuse_built(Path(path))
    format = FORMATS[name]
    if reading.columns and name not in ("conll", "csv"):
        raise DataError(f"{path}: --columns with --format {name}, expected --format conll or csv")
    if reading.scheme and format.holds == "texts":
        tags = f"--scheme {reading.scheme} with --format {name}, which has no tags"
        raise DataError(f"{path}: {tags}; expected none")
    source = format.reader(path, reading)
    if format.holds == "tokens":
        return source
    source = texts.check_marks(source, drop_invalid=reading.drop_invalid)
    if reading.split_lines:
        source = texts.split_at_line_ends(source, drop_invalid=reading.drop_invalid)
    if reading.overlaps == "keep":
        return source
    return texts.remove_overlaps(source, keep_longest=reading.overlaps == "keep_longest")


def read(
    path: str | Path, name: str | None = None, *, unit: str | None = None, reading: Reading = DEFAULTS
) -> Document:
    """Reads a file as sentences of tokens; None guesses the format, or the unit of texts."""
    name = name or guess_format(path, reading)
    source = load(path, name, reading)
    if FORMATS[name].holds == "texts":
        source = to_document(source, unit=unit, drop_invalid=reading.drop_invalid)
    return source._replace(format=name)


__all__ = ["FORMATS", "WRITABLE", "Document", "Reading", "Texts"]
__all__ += ["guess_format", "load", "read", "to_document", "to_texts"]
