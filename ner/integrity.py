"""Whether the files of a folder are those that were written into it: `manifest.json`, their sizes and sha256.

{"files": {"config.json": {"bytes": 812, "sha256": "9f86d0..."}, ...}}
"""

import json
from pathlib import Path

from ner.corpus import DataError, read_json, read_text
from ner.runtime import sha256

MANIFEST = "manifest.json"
STATE = "training_state"  # .json and .safetensors: what resuming needs and tagging does not


def write_manifest(folder: Path) -> None:
    """Lists every file that stands in the folder now."""
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    files = {name: _facts(folder / name) for name in names}
    (folder / MANIFEST).write_text(_as_text({"files": files}), encoding="utf-8")


def check_model(folder: Path) -> None:
    """Where a model directory has a manifest: the check of all that is not the state of its training."""
    if (folder / MANIFEST).exists():
        check_manifest(folder, without=STATE)


def check_manifest(folder: Path, *, without: str | None = None) -> None:
    """Reads every file that the manifest lists, once; DataError names the first that is not as it was.

    A file that was added later, such as a score, is no damage.  Files whose names, but for the suffix, are
    `without` are left out.
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
