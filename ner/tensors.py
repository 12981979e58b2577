"""Tensors on disk: safetensors and torch files, and hashes of tensors.  Pickled code is never run."""

import functools
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ner.errors import DataError
from ner.files import read_json, whole_file


def sha256_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest of the names, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy())
    return digest.hexdigest()


def read_weights(model_dir: str | Path) -> dict[str, Tensor]:
    """All tensors of a model directory, on the CPU, under the names and dtypes of the file.

    DataError names the file: missing, truncated or malformed, an index that points outside the directory, a
    `.bin` file that holds more than tensors.
    """
    directory = Path(model_dir)
    for name, read in READERS.items():
        if (directory / name).is_file():
            return read(directory / name)
        index = directory / f"{name}.index.json"
        if index.is_file():
            return read_shards(index, read)
    expected = ", ".join(f"{name}[.index.json]" for name in READERS)
    raise DataError(f"{model_dir}: no weights, expected one of {expected}")


def weight_files(model_dir: str | Path) -> set[str]:
    """Names of the files that `read_weights` reads, the index apart."""
    for name in READERS:
        if (Path(model_dir) / name).is_file():
            return {name}
        index = Path(model_dir) / f"{name}.index.json"
        if index.is_file():
            return set(read_json(index)["weight_map"].values())
    return set()


def read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that an index file lists, read from the files of the same directory that it names."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise DataError(f"{index}: weight_map: got {weight_map!r:.60}, expected name: file")
    weights, read_once = {}, functools.cache(read)
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name, file in weight_map.items():
        # The name is checked as text and not resolved: in download caches the files are links.
        if not isinstance(file, str) or set(file) & set("/\\:\0") or Path(file).suffix != suffix:
            expected = f"expected the name of a {suffix} file in the same directory"
            raise DataError(f"{index}: {name!r:.60}: got {file!r:.60}, {expected}")
        shard = read_once(index.parent / file)
        if name not in shard:
            raise DataError(f"{index.parent / file}: no tensor {name!r}, expected by {index.name}")
        weights[name] = shard[name]
    return weights


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; DataError if it is missing or malformed."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: got {got}, expected a whole safetensors file") from error


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """All tensors of a file of torch.save, without running what a pickle asks for; DataError as above."""
    expected = "expected a table of tensors, as torch.save(model.state_dict()) writes it"
    try:
        n_bytes, n_unpacked = path.stat().st_size, unpacked_bytes(path)
        table = torch.load(path, weights_only=True, map_location="cpu") if n_unpacked <= n_bytes else {}
    except Exception as error:
        # A broken pickle can raise almost any error. Its message is left out, because torch's message
        # recommends weights_only=False, which would run the pickle's code.
        got = f"a missing, broken or unsafe file ({type(error).__name__})"
        raise DataError(f"{path}: got {got}, {expected}") from error
    check_amount(path, n_unpacked, n_bytes)
    if not isinstance(table, dict):
        raise DataError(f"{path}: got {type(table).__name__}, {expected}")
    for name, tensor in table.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise DataError(f"{path}: {name!r:.60}: got {type(tensor).__name__}, {expected}")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise DataError(f"{path}: {name!r:.60}: got a packed tensor, {expected}")
    # A view can be larger than the file.  Tied tensors are stored once but counted for each name, hence 4.
    check_amount(path, sum(t.numel() * t.element_size() for t in table.values()), 4 * n_bytes)
    return {name: tensor.detach() for name, tensor in table.items()}


def unpacked_bytes(path: Path) -> int:
    """Total uncompressed size of a zip's records (torch stores its own uncompressed); 0 if it is no zip."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":  # torch recognises a zip by the same bytes
            return 0
        with zipfile.ZipFile(file) as records:
            return sum(record.file_size for record in records.infolist())


def check_amount(path: Path, n_bytes: int, limit: int) -> None:
    """DataError if the tensors would take more memory than the file can honestly hold."""
    if n_bytes > limit:
        raise DataError(f"{path}: got {n_bytes:,} bytes of tensors, expected {limit:,} at most in this file")


READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "model.safetensors": read_safetensors,
    "pytorch_model.bin": read_torch_file,
}


def save_weights(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file that other programs open as torch weights.

    Tensors may still be mapped from an older file of this name, so it is replaced at the end, not changed.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(Path(path), binary=True) as file:
        save_file(plain, file.name, metadata={"format": "pt"})  # a new file that only the owner may read
        os.chmod(file.name, os.fstat(file.fileno()).st_mode)
