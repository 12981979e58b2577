"""Downloads data sets on request; each file of an archive must have a known sha256."""

import hashlib
import http.client
import lzma
import struct
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ner.errors import DataError

TIMEOUT = 30  # seconds without receiving a byte
MAX_BYTES = 64 << 20  # limit for the archive, and for each file in it
_BLOCK = 1 << 16
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)


class Source(NamedTuple):
    """An archive: hex sha256 of its files by base name, in any folder of it; the file of each split."""

    url: str
    sha256s: dict[str, str]
    splits: dict[str, str]


SOURCES = {
    "msra": Source(
        url="https://raw.githubusercontent.com/zhooufeng/Data/8994cd154fded0ae3ba9a9749f904aa644949e2e/MSRA.zip",
        sha256s={
            "msra_train_bio": "4f7f24a28b6a5377a768eb740f6e4cc8df37cd5fe06777d0279c7180948d233b",
            "msra_test_bio": "2be8e580bcb22e9086e4403d82a7ec0f6e18019ebef35b0fd52941724bdf89a3",
        },
        splits={"train": "msra_train_bio", "test": "msra_test_bio"},
    )
}

OnProgress = Callable[[int, int | None], None]


def fetch(
    source: Source, folder: str | Path, *, url: str | None = None, on_progress: OnProgress | None = None
) -> dict[str, Path]:
    """Downloads an archive, checks its files and saves them in the folder; returns the file of each split.

    Calls `on_progress` with the number of bytes so far and in total; the total is None if the server does
    not state it.  DataError if the address does not answer, or if the answer is not the expected files.
    """
    folder, url = Path(folder), url or source.url
    archive = folder / "archive.zip"
    _download(url, archive, on_progress)
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, sha256 in source.sha256s.items():
                (folder / name).write_bytes(_member(url, opened, name, sha256))
    except DataError:
        raise
    except (*_BROKEN, EOFError, RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{url}: not a zip file that can be read, {_reason(error)}") from None
    return {split: folder / name for split, name in source.splits.items()}


def _download(url: str, path: Path, on_progress: OnProgress | None) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            stated = answer.headers.get("Content-Length", "")
            expected = int(stated) if stated.isdecimal() else None
            got = 0
            while got <= MAX_BYTES and (block := answer.read(_BLOCK)):
                got += len(block)
                file.write(block)
                if on_progress:
                    on_progress(got, expected)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: got HTTP status {error.code} {error.reason}, expected the archive") from None
    except urllib.error.URLError as error:
        raise DataError(f"{url}: cannot be reached, {_reason(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: the download broke off, {_reason(error)}") from None
    except ValueError as error:
        raise DataError(f"--download_url {url}: {_reason(error)}, expected an address") from None
    if got > MAX_BYTES:
        raise DataError(f"{url}: got more than {MAX_BYTES:,} bytes, expected no more")
    if expected is not None and got != expected:
        raise DataError(f"{url}: the download broke off, got {got:,} of {expected:,} bytes")


def _reason(error: object) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _member(url: str, archive: zipfile.ZipFile, name: str, sha256: str) -> bytes:
    """The content of the file with this base name; DataError if it is missing or its sha256 differs."""
    found = [info for info in archive.infolist() if PurePosixPath(info.filename).name == name]
    if not found:
        raise DataError(f"{url}: no {name} in the archive")
    if (size := found[0].file_size) > MAX_BYTES:
        raise DataError(f"{url}: {name} unpacks to {size:,} bytes, expected no more than {MAX_BYTES:,}")
    with archive.open(found[0]) as file:
        data = file.read(MAX_BYTES)
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise DataError(f"{url}: {name} has sha256 {got}, expected {sha256}")
    return data
