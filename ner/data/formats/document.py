"""What readers return, tokens with tags or texts with spans; the options of a reader; what a format is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ner.data.sentence import Sentence


class Document(NamedTuple):
    """An annotated file as sentences of tokens.

    path: the file, or the folder of a brat collection.
    first_lines: line, from 1, on which each sentence starts.
    illegal: (line from 1, tag) of each gold tag that its scheme forbids at this position.
    notes: sentences for the user about what was guessed or skipped.
    sha256: hex digest of the file's bytes.
    scheme: scheme under which the tags were read; None if the file has no tags.
    unit: unit of the tokens if the reader split a text into them; None if the file itself has tokens.
    left_out: entities that were dropped on request, each as `file:line: problem`.
    format: a name in `FORMATS`.
    files: the file that holds each sentence; empty if that is `path` for all.
    one_line: True if all tokens of a sentence stand on its first line, though the file itself has tokens.
    """

    path: Path
    sentences: list[Sentence]
    first_lines: list[int]
    illegal: list[tuple[int, str]]
    notes: list[str]
    sha256: str
    scheme: str | None
    unit: str | None = None
    left_out: tuple[str, ...] = ()
    format: str = ""
    files: tuple[Path, ...] = ()
    one_line: bool = False

    @property
    def annotated(self) -> bool:
        return self.sentences[0].spans is not None

    def place(self, row: int) -> str:
        """`file:line` where a sentence starts; the file of a folder is named with the folder."""
        file = self.files[row] if self.files else self.path
        return f"{file.relative_to(self.path.parent)}:{self.first_lines[row]}"


class Mark(NamedTuple):
    """An entity `text[start:end]`, in code points; `line` is its line in the annotation file, from 1.

    `surface` is the entity's text according to the annotation; None if the annotation does not give it.
    """

    start: int
    end: int
    label: str
    line: int
    surface: str | None = None


class AnnotatedText(NamedTuple):
    """A text and its marks, which may nest; `marks` is None if the text is not annotated.

    `path` and `line` locate the annotation.  `text_place` is the file and line where the text itself
    begins, if a file holds it verbatim.  `offset` is the place of this text in that of the file, if this is
    one of its lines: offsets of marks count from here, those in messages from the start of the whole text.
    """

    path: Path
    line: int
    text: str
    marks: tuple[Mark, ...] | None
    text_place: tuple[Path, int] | None = None
    offset: int = 0


class InvalidSpan(NamedTuple):
    """An entity that cannot be used, and the reason."""

    path: Path
    line: int
    problem: str


class Texts(NamedTuple):
    """A file of annotated texts.  `invalid` lists entities that were dropped from the marks.

    `path`, `notes` and `sha256` are as in `Document`.
    """

    path: Path
    texts: list[AnnotatedText]
    notes: list[str]
    sha256: str
    invalid: tuple[InvalidSpan, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options for reading an annotated file."""

    encoding: str = "utf-8"
    scheme: str | None = None
    """scheme of the tags, a name in `ner.tags.SCHEMES`; None: guessed from their prefixes"""
    label_names: tuple[str, ...] = ()
    """the names of tags that are numbers, or the label of tags without one, such as B and I"""
    columns: tuple[int | str, ...] | None = None
    """conll and csv: columns of token and tags, from 1, or -1 for the last, or by the names in a header"""
    strip_index: bool = False
    """columns: remove the number at the end of tokens such as 北0, if nearly all are so"""
    first_tag: bool = False
    """columns: of several tags of a token, such as B-a,B-b, take the first, instead of DataError"""
    split_lines: bool = False
    """texts with spans: every line becomes a text"""
    overlaps: Literal["keep", "refuse", "keep_longest"] = "refuse"
    """texts with spans, and several columns of tags: what happens to entities that overlap"""
    drop_invalid: bool = False
    """texts with spans: drop and list entities that cannot be used, instead of DataError"""


DEFAULTS = Reading()


class Format(NamedTuple):
    """A file format of annotated text.

    `holds` says what the files contain: `tokens` with a tag each (a Document), or `texts` with spans of
    characters (Texts).  `reader(path, reading)` returns it and `writer(path, it)` writes it.
    `looks_like(path, text)` is True if a file with this text may be of the format; a folder's text is empty.
    `expects` says in a few words what `looks_like` looks for.
    """

    holds: Literal["tokens", "texts"]
    reader: Callable[[str | Path, Reading], Document | Texts]
    looks_like: Callable[[Path, str], bool]
    writer: Callable[[str | Path, Document | Texts], None] | None = None
    expects: str = ""
