"""Tokenises plain text once, into one flat array of pieces on disk that is kept until the text changes.

The tokenizer sees every distinct token once.  The rest is arithmetic on arrays, one chunk of lines at a time,
so memory grows with the numbers of distinct tokens and of lines, not with the text.
"""

import hashlib
import json
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ner.data import folder
from ner.data.tokenizer import WordPiece
from ner.errors import DataError
from ner.files import growing_array, read_compressed_lines, whole_file
from ner.inference.predict import chunks

CHUNK_CHARACTERS = 1 << 20
N_GUESSED_FROM = 1000  # lines
VERSION = 2  # of the cached arrays

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df"
_MARKS = r"!-/:-@\[-`{-~"
# WordPiece always splits a text at Chinese characters, at marks and at white space.  Splitting there first
# changes no piece, and leaves few distinct tokens to tokenise.
_WORDS = re.compile(rf"[{_CHINESE}{_MARKS}]|[^\s{_CHINESE}{_MARKS}]+")
_SPACED_WORDS = re.compile(rf"[{_MARKS}]|[^\s{_MARKS}]+")  # for vocabularies that keep Chinese words whole


class TokenizedText(NamedTuple):
    """Tokenised lines, each with `[SEP]` at its end.

    pieces     (pieces,) uint16 or int32, on disk: all lines end to end, each with its `[SEP]`
    line_ends  (lines + 1,) int64, line i has pieces[line_ends[i] : line_ends[i + 1]]
    tags       (pieces,) uint16, on disk: k + 1 for `tag_names[k]`, 0 for a piece without a tag, such as
               `[SEP]`; None if no file is tagged
    tag_names  B- and I- of every flag of the tagged files
    """

    pieces: np.ndarray
    line_ends: np.ndarray
    tags: np.ndarray | None = None
    tag_names: tuple[str, ...] = ()

    @property
    def n_lines(self) -> int:
        return len(self.line_ends) - 1

    @property
    def sha256(self) -> str:
        """Hex digest of the pieces, line ends and tags."""
        digest = hashlib.sha256()
        for array_ in (self.pieces, self.line_ends, self.tags):
            digest.update(b"" if array_ is None else array_)
        return digest.hexdigest()


class Line(NamedTuple):
    """The tokens of a line, and their tags if the file is tagged."""

    tokens: Sequence[str]
    tags: Sequence[str] | None = None


def read_tokens(path: Path, unit: str, *, part_chinese: bool = True) -> Iterator[Sequence[str]]:
    """The tokens of every line of a file, or of every sentence in the train split of a built set.

    unit `char`: every code point is a token, as for a tagger of characters.  unit `word`: words, Chinese
    characters and marks; their pieces are the pieces of the whole line.  A built set has its own tokens.
    `part_chinese` false keeps Chinese words whole, for a vocabulary that contains such words.
    """
    if path.is_dir():
        return (sentence.tokens for sentence in folder.read_split(path, "train").sentences)
    lines = (line for _, line in read_compressed_lines(path))
    words = _WORDS if part_chinese else _SPACED_WORDS
    return lines if unit == "char" else map(words.findall, lines)


def read_tagged(path: Path, unit: str) -> Iterator[Line]:
    """Yields lines of `word/flag word/flag ...`, the format of segmenters and part-of-speech corpora.

    The first token of a word has the tag `B-flag`, the others `I-flag`; with unit `word` every word is
    one token.  DataError as for `read_compressed_lines`, and, with the line, for a word without a flag.
    """
    for number, line in read_compressed_lines(path):
        tokens, tags = [], []
        for item in line.split():
            word, _, flag = item.rpartition("/")
            if not word or not flag:
                raise DataError(f"{path}:{number}: got {item!r}, expected word/flag")
            parts = word if unit == "char" else [word]
            tokens += parts
            tags += [f"B-{flag}"] + [f"I-{flag}"] * (len(parts) - 1)
        yield Line(tokens, tags)


def read_lines(
    paths: Iterable[Path], tagged: Iterable[Path], unit: str, part_chinese: bool = True
) -> Iterator[Line]:
    """Yields the lines of all files, by `read_tokens`, then of the `tagged` ones, by `read_tagged`."""
    for path in paths:
        yield from map(Line, read_tokens(path, unit, part_chinese=part_chinese))
    for path in tagged:
        yield from read_tagged(path, unit)


def guess_unit_of_file(path: Path) -> str:
    """The unit of a built set; for a text, `char` if at least half of its first characters are Chinese."""
    if path.is_dir():
        return folder.read_unit(path, folder.read_split(path, "train").sentences)
    lines = (line for _, line in islice(read_compressed_lines(path), N_GUESSED_FROM))
    text = "".join(re.sub(r"/[A-Za-z]+(?=\s|$)|\s", "", line) for line in lines)  # without flags
    return "char" if 2 * len(re.findall(f"[{_CHINESE}]", text)) >= max(1, len(text)) else "word"


class PieceTable(dict):
    """Numbers of the distinct tokens; token k has the pieces `flat[starts[k] : starts[k] + lengths[k]]`.

    The token None is the end of a line, with the piece `[SEP]`.
    """

    def __init__(self, tokenizer: WordPiece):
        super().__init__()
        self.tokenizer = tokenizer
        self.flat, self.starts, self.lengths = array("q"), array("q"), array("q")

    def __missing__(self, token: str | None) -> int:
        ids = (self.tokenizer.sep_id,) if token is None else self.tokenizer.pieces(token)
        self.starts.append(len(self.flat))
        self.lengths.append(len(ids))
        self.flat.extend(ids)
        number = self[token] = len(self)
        return number

    def tokenise(self, lines: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokenises lines.  Returns three int64 arrays:

        the pieces of all lines end to end, each line with its `[SEP]`;
        the number of pieces of each token, the `[SEP]` of each line counted as a token;
        the end of each line among the pieces.
        """
        n_tokens = np.fromiter(map(len, lines), np.int64, len(lines)) + 1
        tokens = chain.from_iterable(chain(line, (None,)) for line in lines)
        numbers = np.fromiter(map(self.__getitem__, tokens), np.int64, int(n_tokens.sum()))
        flat, starts, lengths = (np.array(values) for values in (self.flat, self.starts, self.lengths))
        lengths = lengths[numbers]
        ends = np.cumsum(lengths)
        positions = np.repeat(starts[numbers] - (ends - lengths), lengths) + np.arange(ends[-1])
        return flat[positions], lengths, ends[np.cumsum(n_tokens) - 1]


def open_text(
    paths: Sequence[Path], tokenizer: WordPiece, unit: str, cache_dir: Path, tagged: Sequence[Path] = ()
) -> TokenizedText:
    """The pieces of all files in order, from the cache if files, vocabulary and unit are unchanged.

    The `tagged` files follow the others.  DataError as for `read_compressed_lines` and `read_tagged`, or if
    there is no line of text.
    """
    facts = [VERSION, unit, tokenizer.vocabulary, tokenizer.normalisation, sources(paths), sources(tagged)]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    stem, whole = cache_dir / key, cache_dir / f"{key}.json"
    if not whole.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        for old in chain(cache_dir.glob("*.npy*"), cache_dir.glob("*.json")):
            old.unlink()
        lines = read_lines(paths, tagged, unit, tokenizer.normalisation.tokenize_chinese_chars)
        tag_names = _write_arrays(stem, lines, PieceTable(tokenizer), bool(tagged))
        if tag_names is None:
            raise DataError(f"{', '.join(map(str, [*paths, *tagged]))}: no text, expected lines of it")
        with whole_file(whole) as file:  # written last: it shows that all arrays are complete
            json.dump(tag_names, file)
    tag_names = tuple(json.loads(whole.read_text(encoding="utf-8")))
    return TokenizedText(
        np.load(f"{stem}.pieces.npy", mmap_mode="r"),
        np.load(f"{stem}.line_ends.npy"),
        np.load(f"{stem}.tags.npy", mmap_mode="r") if tag_names else None,
        tag_names,
    )


def sources(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and modification time of every file; DataError if a file is missing."""
    files = [path / "train" / "sentences.txt" if path.is_dir() else path for path in paths]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file")
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _write_arrays(stem: Path, lines: Iterable[Line], table: PieceTable, tagged: bool) -> list[str] | None:
    """Writes the arrays of a `TokenizedText`, one chunk of lines at a time.

    Returns the names of the tags, or None if there are no lines.
    """
    kind = np.uint16 if len(table.tokenizer) <= 1 << 16 else np.int32
    tag_numbers = defaultdict(count(1).__next__, {None: 0})  # in the order of appearance
    all_ends, n_pieces = [np.zeros(1, np.int64)], 0
    with (
        growing_array(Path(f"{stem}.pieces.npy"), kind) as append_pieces,
        growing_array(Path(f"{stem}.tags.npy"), np.uint16) if tagged else nullcontext() as append_tags,
    ):
        for chunk in chunks(lines, lambda line: len(line.tokens), most=CHUNK_CHARACTERS):
            ids, lengths, ends = table.tokenise([line.tokens for line in chunk])
            append_pieces(ids)
            if tagged:
                # the tag of each token and of the end of the line; None: no tag
                of_lines = ((*(line.tags or [None] * len(line.tokens)), None) for line in chunk)
                numbers = map(tag_numbers.__getitem__, chain.from_iterable(of_lines))
                append_tags(np.repeat(np.fromiter(numbers, np.uint16), lengths))
            all_ends.append(ends + n_pieces)
            n_pieces += len(ids)
    np.save(f"{stem}.line_ends.npy", np.concatenate(all_ends))
    return list(tag_numbers)[1:] if n_pieces else None
