"""Reading, writing and hashing of text, JSON and other files, without torch."""

import contextlib
import gzip
import hashlib
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ner.errors import DataError

OPENERS: dict[str, Callable] = {".txt": open, ".gz": gzip.open, ".xz": lzma.open}  # by the end of a file name


def read_bytes(path: str | Path) -> bytes:
    """Returns the contents of a file; DataError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None


def check_output(output: str | Path | None, inputs: Iterable[str | Path]) -> None:
    """DataError if the output is one of the input files, also through links, or a file of an input folder."""
    output = Path(output or "")
    if output.is_file():
        for path in map(Path, inputs):
            files = path.rglob("*") if path.is_dir() else [path]
            if any(file.is_file() and output.samefile(file) for file in files):
                raise DataError(f"{output}: is the input, expected another file to write to")


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Returns the text of a file; DataError names the first line that does not fit the encoding."""
    data = read_bytes(path)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(undecodable(path, error)) from None


def undecodable(path: str | Path, error: UnicodeDecodeError) -> str:
    """The message of a decoding error: `file:line: not utf-8, got bytes b1 b1`."""
    line = error.object[: error.start].decode(error.encoding, errors="replace").count("\n") + 1
    got = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.start + 4])
    return f"{path}:{line}: not {error.encoding}, got bytes {got}"


def read_json(path: str | Path) -> dict:
    """Reads a JSON file that holds one object; DataError otherwise, or if a key occurs twice."""
    try:
        values = json.loads(read_text(path).removeprefix("\ufeff"), object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON, {error.msg}") from None
    except ValueError as error:
        raise error if isinstance(error, DataError) else DataError(f"{path}: {error}") from None
    except RecursionError:
        raise DataError(f"{path}: not JSON that can be read, nested too deeply") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: got {type(values).__name__}, expected one JSON object")
    return values


def unique_keys(pairs: list[tuple[str, object]]) -> dict:
    """Builds a JSON object, as json's `object_pairs_hook`; ValueError if a key occurs twice."""
    values, seen = dict(pairs), set()
    if len(values) < len(pairs):  # rare, so the loop costs nothing
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} twice, expected it once")
            seen.add(key)
    return values


def has_half_pair(text: str) -> bool:
    """True if the text holds half of a surrogate pair, which UTF-8 cannot encode."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def read_text_lines(path: Path) -> list[str]:
    """Reads the lines of a UTF-8 file.  Only `\\n` or `\\r\\n` ends a line; the last one may lack it."""
    lines = read_text(path).removeprefix("\ufeff").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes UTF-8 lines, each ended by a newline."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def escape(token: str) -> str:
    r"""A token as `sentences.txt` holds it: white space and U+FEFF as \uXXXX, a backslash doubled.

    U+FEFF at the start of a file would be read as a byte order mark.
    """
    if token.isprintable() and "\\" not in token and " " not in token:
        return token
    marked = r"[\s\x1c-\x1f\x85\ufeff\\]"
    return re.sub(marked, lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", token)


def unescape(text: str) -> str:
    r"""The inverse of `escape`; a backslash that begins no escape is read as a backslash."""
    if "\\" not in text:
        return text
    return re.sub(r"\\(\\|u[0-9a-f]{4})", lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)


def read_compressed_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a `.txt`, `.gz` or `.xz` file as `numbered_lines`, without the empty ones.

    White space at both ends is removed.  DataError as there, or if the file has another ending.
    """
    if path.suffix not in OPENERS:
        got = path.suffix or "no ending"
        raise DataError(f"{path}: got {got!r}, expected {', '.join(OPENERS)}, or a built data set")
    for number, line in numbered_lines(path, OPENERS[path.suffix]):
        if text := line.strip():
            yield number, text


def numbered_lines(path: str | Path, opener: Callable = open) -> Iterator[tuple[int, str]]:
    """Yields the lines of a UTF-8 file, with their ends, and their numbers, which count from 1.

    DataError if the file does not exist, has broken compression, or is not UTF-8.
    """
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not utf-8, got byte {error.object[error.start]:02x}") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{path}: not whole, {str(error) or type(error).__name__}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror or error}") from None


def numbered(folder: Path, prefix: str) -> dict[int, Path]:
    """Number -> path of every `<prefix>N` in a folder, in ascending order; other names are left out."""
    found = {path.name.removeprefix(prefix): path for path in folder.glob(f"{prefix}*")}
    return {int(number): found[number] for number in sorted(filter(str.isdecimal, found), key=int)}


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def add_file_name(path: Path) -> Iterator[None]:
    """Adds the file's name to an OSError in the block: the error of a full disk does not have it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def whole_file(path: Path, *, binary: bool = False, compressed: bool = False) -> Iterator[IO]:
    """Opens a file for writing.  The file gets its name at the end of the block, when it is complete.

    Text is UTF-8 with `\\n` at line ends.  `compressed`: in the format of the name's ending, see OPENERS.
    A device or a pipe is written to directly.  DataError if the folder does not exist.
    """
    opener = OPENERS[path.suffix] if compressed else open
    options = {"mode": "wb"} if binary else {"mode": "wt", "encoding": "utf-8", "newline": "\n"}
    if path.exists() and not path.is_file():
        with opener(path, **options) as file:
            yield file
        return
    draft = path.with_name(f"{path.name}.unfinished")
    if not path.parent.is_dir():
        raise DataError(f"{path}: no such directory, expected {path.parent} to be there")
    try:
        with opener(draft, **options) as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def growing_array(path: Path, dtype: type, row_shape: tuple[int, ...] = ()) -> Iterator[Callable]:
    """A `.npy` file whose number of rows is not known in advance; yields a function that appends rows.

    The function takes rows (n, *row_shape).  The file gets its name at the end of the block.
    """
    kind, n_rows = np.dtype(dtype), 0

    def append(rows: np.ndarray) -> None:
        nonlocal n_rows
        file.write(np.ascontiguousarray(rows, kind).tobytes())
        n_rows += len(rows)

    def write_header() -> int:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, header | {"shape": (n_rows, *row_shape)})
        return file.tell()

    with whole_file(path, binary=True) as file:
        body = write_header()
        yield append
        file.seek(0)
        # the second header fits into the first, because numpy leaves room for a longer first axis
        if (end := write_header()) != body:
            raise RuntimeError(f"{path}: numpy wrote a header of {end} bytes, expected {body}")
