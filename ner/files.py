"""Text, JSON and whole files: reading, writing and hashing, without torch."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ner.errors import DataError


def read_bytes(path: str | Path) -> bytes:
    """The whole file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read, {error.strerror}") from None


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The whole file; DataError names the line where the bytes are not in the encoding."""
    data = read_bytes(path)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(undecodable(path, error)) from None


def undecodable(path: str | Path, error: UnicodeDecodeError) -> str:
    """`file:line: not utf-8, got bytes b1 b1`."""
    line = error.object[: error.start].decode(error.encoding, errors="replace").count("\n") + 1
    got = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.start + 4])
    return f"{path}:{line}: not {error.encoding}, got bytes {got}"


def read_json(path: str | Path) -> dict:
    """A JSON file that holds one object."""
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
    """A JSON object whose keys are all different; ValueError where one stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {again!r} twice, expected it once")
    return values


def read_lines(path: str | Path) -> list[str]:
    """Lines ended by `\\n` alone (`\\r\\n` understood), the last newline being optional."""
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
    return re.sub(
        r"[\s\x1c-\x1f\x85\ufeff\\]", lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", token
    )


def unescape(text: str) -> str:
    r"""The inverse of `escape`; a backslash that begins no escape is read as a backslash."""
    if "\\" not in text:
        return text
    return re.sub(r"\\(\\|u[0-9a-f]{4})", lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_binary(path: Path, mode: str, **text_options):
    """An opener of `whole_file` for bytes."""
    return open(path, mode.replace("t", "b"))


@contextlib.contextmanager
def add_file_name(path: Path) -> Iterator[None]:
    """An OSError in it bears the file's name: the system names none where writing fails (a full disk)."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def whole_file(path: Path, opener=open):
    """A text file that appears under its name only when it is whole; a device or a pipe is written to.

    `opener` is one that compresses, gzip.open or lzma.open, or `open_binary`.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    draft = path.with_name(f"{path.name}.unfinished")
    if not path.parent.is_dir():
        raise DataError(f"{path}: no such directory, expected {path.parent} to be there")
    try:
        with opener(draft, "wt", encoding="utf-8", newline="\n") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
