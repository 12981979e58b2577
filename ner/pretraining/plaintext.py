"""Plain text to one flat array of pieces on disk: read once, kept while the text stays the same.

Every distinct token is asked of the tokenizer once; the rest is arithmetic on arrays, a chunk of lines
at a time, so that memory grows with the number of distinct tokens and of lines, not with the text.
"""

import gzip
import hashlib
import json
import lzma
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ner import corpus
from ner.corpus import DataError
from ner.tokenizer import Tokenizer

OPENERS: dict[str, Callable] = {".txt": open, ".gz": gzip.open, ".xz": lzma.open}
CHUNK_CHARACTERS = 1 << 20
N_GUESSED_FROM = 1000  # lines
VERSION = 1  # of the cached arrays

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df"
_MARKS = r"!-/:-@\[-`{-~"
# WordPiece parts a text at Chinese characters, at marks and at white space whatever stands around them,
# so cutting there first changes no piece and leaves few distinct tokens to ask for.
_WORDS = re.compile(rf"[{_CHINESE}{_MARKS}]|[^\s{_CHINESE}{_MARKS}]+")
_SPACED_WORDS = re.compile(rf"[{_MARKS}]|[^\s{_MARKS}]+")  # for vocabularies that keep Chinese words whole


class Text(NamedTuple):
    """Tokenised lines, each closed by `[SEP]`.

    pieces     (pieces,) uint16 or int32, all lines end to end, their `[SEP]` included; on disk
    line_ends  (lines + 1,) int64, line i owns pieces[line_ends[i] : line_ends[i + 1]]
    """

    pieces: np.ndarray
    line_ends: np.ndarray

    @property
    def n_lines(self) -> int:
        return len(self.line_ends) - 1


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a `.txt`, `.gz` or `.xz` file in UTF-8, white space around them removed, empty ones left out.

    DataError: no such file, another ending, broken compression, bytes that are not UTF-8 (with the line).
    """
    if path.suffix not in OPENERS:
        raise DataError(
            f"{path}: got {path.suffix or 'no ending'!r}, expected {', '.join(OPENERS)}, or a set"
        )
    number = 0
    try:
        with OPENERS[path.suffix](path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8").removeprefix("\ufeff" if number == 1 else "").strip()
                if text:
                    yield text
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not utf-8, got byte {error.object[error.start]:02x}") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: not whole, {str(error) or type(error).__name__}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror or error}") from None


def read_tokens(path: Path, unit: str, *, part_chinese: bool = True) -> Iterator[Sequence[str]]:
    """The tokens of every line of a file, or of every sentence of the train split of a built set.

    unit `char`: every code point is a token, as a tagger of characters will read it; `word`: words,
    Chinese characters and marks, the pieces being those of the whole line.  A built set has its own
    tokens.  `part_chinese` false keeps Chinese words whole, for a vocabulary that has them.
    """
    if path.is_dir():
        yield from (sentence.tokens for sentence in corpus.read_split(path, "train").sentences)
    elif unit == "char":
        yield from read_lines(path)
    else:
        yield from map((_WORDS if part_chinese else _SPACED_WORDS).findall, read_lines(path))


def guess_unit(path: Path) -> str:
    """The unit of a built set; `char` where half or more of the first lines' characters are Chinese."""
    if path.is_dir():
        return corpus.read_unit(path, corpus.read_split(path, "train").sentences)
    text = "".join(
        "".join(line.split()) for line, _ in zip(read_lines(path), range(N_GUESSED_FROM), strict=False)
    )
    return "char" if 2 * len(re.findall(f"[{_CHINESE}]", text)) >= max(1, len(text)) else "word"


class PieceTable(dict):
    """Token -> its number; token k has the pieces `flat[starts[k] : starts[k] + lengths[k]]`.

    None is the end of a line and has the piece `[SEP]`.
    """

    def __init__(self, tokenizer: Tokenizer):
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

    def tokenise(self, lines: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Pieces of the lines end to end, and where each line ends among them, both int64."""
        n_tokens = np.fromiter(map(len, lines), np.int64, len(lines)) + 1
        tokens = chain.from_iterable(chain(line, (None,)) for line in lines)
        numbers = np.fromiter(map(self.__getitem__, tokens), np.int64, int(n_tokens.sum()))
        flat, starts, lengths = (np.array(values) for values in (self.flat, self.starts, self.lengths))
        ends = np.cumsum(lengths[numbers])
        first = starts[numbers] - (ends - lengths[numbers])
        positions = np.repeat(first, lengths[numbers]) + np.arange(ends[-1])
        return flat[positions], ends[np.cumsum(n_tokens) - 1]


def open_text(paths: Sequence[Path], tokenizer: Tokenizer, unit: str, cache_dir: Path) -> Text:
    """The pieces of all files in order, from the cache where files, vocabulary and unit are the same.

    DataError as `read_lines`, and where there is not one line of text.
    """
    key = cache_key(paths, tokenizer, unit)
    pieces_path, ends_path = cache_dir / f"{key}.pieces.npy", cache_dir / f"{key}.line_ends.npy"
    if not ends_path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        for old in cache_dir.glob("*.npy*"):
            old.unlink()
        part_chinese = tokenizer.normalisation.tokenize_chinese_chars
        lines = chain.from_iterable(read_tokens(path, unit, part_chinese=part_chinese) for path in paths)
        draft = pieces_path.with_suffix(".npy.unfinished")
        ends = _write_pieces(draft, lines, PieceTable(tokenizer))
        if len(ends) == 1:
            raise DataError(f"{', '.join(map(str, paths))}: no text, expected lines of it")
        draft.rename(pieces_path)
        draft = ends_path.with_suffix(".npy.unfinished")
        with draft.open("wb") as file:
            np.save(file, ends)
        draft.rename(ends_path)  # last: where it stands, both are whole
    return Text(np.load(pieces_path, mmap_mode="r"), np.load(ends_path))


def cache_key(paths: Sequence[Path], tokenizer: Tokenizer, unit: str) -> str:
    """A digest of the files' names, sizes and times, of the vocabulary with its switches, and of the unit."""
    facts = [VERSION, unit, tokenizer.vocabulary, tokenizer.normalisation, sources(paths)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def sources(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every file; DataError where one is missing."""
    files = [path / "train" / "sentences.txt" if path.is_dir() else path for path in paths]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file")
    return [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _write_pieces(path: Path, lines: Iterable[Sequence[str]], table: PieceTable) -> np.ndarray:
    """Writes the flat array a chunk at a time; returns line_ends."""
    kind = np.dtype(np.uint16 if len(table.tokenizer) <= 1 << 16 else np.int32)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (0,)}
    all_ends, n_pieces = [np.zeros(1, np.int64)], 0
    with path.open("wb") as file:
        # numpy leaves room in the header for a longer shape, which is known only at the end
        np.lib.format.write_array_header_1_0(file, header)
        body = file.tell()
        for chunk in _chunks(lines):
            pieces, ends = table.tokenise(chunk)
            pieces.astype(kind).tofile(file)
            all_ends.append(ends + n_pieces)
            n_pieces += len(pieces)
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header | {"shape": (n_pieces,)})
        if file.tell() != body:
            raise RuntimeError(f"{path}: numpy wrote a header of {file.tell()} bytes, expected {body}")
    return np.concatenate(all_ends)


def _chunks(lines: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    chunk, n_tokens = [], 0
    for line in lines:
        chunk.append(line)
        n_tokens += len(line)
        if n_tokens >= CHUNK_CHARACTERS:
            yield chunk
            chunk, n_tokens = [], 0
    if chunk:
        yield chunk
