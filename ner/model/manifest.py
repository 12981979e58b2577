"""Checks of the files of a model directory before they are opened: undamaged, and not too large to read.

`manifest.json` lists the files as written: {"files": {"config.json": {"bytes": 812, "sha256": "9f86d0..."}}}
"""

import json
from pathlib import Path

from ner.errors import DataError
from ner.files import read_json, read_text, sha256

MIB = 1 << 20
MANIFEST = "manifest.json"
STATE = "training_state"  # .json and .safetensors: what resuming needs and tagging does not
SMALL = (
    *("config.json", "bert_config.json", "tokenizer_config.json", MANIFEST, f"{STATE}.json"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
# name -> the most bytes, brackets and lines; the largest vocabulary published for BERT has 501,153 pieces
TEXTS = {
    **dict.fromkeys(SMALL, (4 * MIB, 10_000, 100_000)),
    "tokenizer.json": (16 * MIB, 100_000, 2_000_000),
    "vocab.txt": (16 * MIB, None, 1_000_000),
}
MAX_HEADER = 4 * MIB  # bytes of a safetensors file's header; BERT-large's has 50 kB


def check_sizes(folder: Path) -> None:
    """DataError if a file is larger, or has more brackets or lines, than in any published model.

    Files that pass are read within seconds, in memory that is proportional to their size.
    """
    for name in TEXTS:
        _check_text(folder / name)
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
        if n_bytes > MAX_HEADER:
            expected = f"a whole safetensors file, with {MAX_HEADER:,} at most"
            raise DataError(f"{path}: got a header of {n_bytes:,} bytes, expected {expected}")


def _check_text(path: Path) -> None:
    """DataError if one of `TEXTS` exceeds its limits; no error if there is no such file."""
    n_bytes, n_brackets, n_lines = TEXTS[path.name]
    if not path.exists():
        return
    if not path.is_file():
        raise DataError(f"{path}: expected a regular file")
    if path.stat().st_size > n_bytes:
        raise DataError(f"{path}: got {path.stat().st_size:,} bytes, expected {n_bytes:,} at most")
    text = path.read_bytes()
    if n_brackets is not None and text.count(b"[") + text.count(b"{") > n_brackets:
        raise DataError(f"{path}: got more than {n_brackets:,} brackets, expected at most as many")
    if text.count(b"\n") > n_lines:
        raise DataError(f"{path}: got more than {n_lines:,} lines, expected at most as many")


def write_manifest(folder: Path) -> None:
    """Lists every file that is in the folder now."""
    files = {path.name: _facts(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    (folder / MANIFEST).write_text(_as_text({"files": files}), encoding="utf-8")


def check_model(folder: Path) -> None:
    """If a model directory has a manifest, checks all its files except the state of its training."""
    if (folder / MANIFEST).exists():
        _check_text(folder / MANIFEST)  # opening the directory checks the sizes of the others
        check_manifest(folder, without=STATE)


def check_manifest(folder: Path, *, without: str | None = None) -> None:
    """Reads every file that the manifest lists; DataError names the first that is missing or changed.

    Files that were added later are ignored; so are listed files whose name without suffix is `without`.
    """
    path = folder / MANIFEST
    values = read_json(path)
    files = values.get("files")
    if not isinstance(files, dict) or _as_text(values) != read_text(path):
        raise DataError(f"{path}: damaged, got other text than a manifest is written in")
    for name, expected in files.items():
        file = folder / name
        if file.stem == without:
            continue
        if file.parent != folder or not file.is_file():
            raise DataError(f"{file}: no such file, expected as {MANIFEST} lists it")
        n_bytes = expected.get("bytes") if isinstance(expected, dict) else None
        if file.stat().st_size != n_bytes:
            raise DataError(f"{file}: damaged, got {file.stat().st_size} bytes, expected {n_bytes}")
        if _facts(file) != expected:
            raise DataError(f"{file}: damaged, its sha256 is not the one in {MANIFEST}")


def _facts(file: Path) -> dict:
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def _as_text(values: dict) -> str:
    return json.dumps(values, indent=1) + "\n"
