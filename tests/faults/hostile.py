"""Hostile model directories for `tests.faults`.  Opening one must run no code and stay fast and small."""

import contextlib
import io
import json
import os
import pickle
import random
import re
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch

from ner.data.tokenizer import WordPiece
from ner.errors import DataError
from ner.model.directory import load, save
from ner.tensors import read_weights
from tests import factories

SIZES = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
SIZES |= {"max_position_embeddings": 16}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", *"王小明在北京上海"]
TEXT_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt")
MiB = 1 << 20
MAX_SECONDS = 2.0  # processor time
MAX_BYTES = 1 << 30  # additional memory
# the first file is read only if the second is missing
READ_AFTER = {"tokenizer.json": "vocab.txt", "pytorch_model.bin": "model.safetensors"}
NUMBERS = (
    b"-1",
    b"0",
    b"1",
    b"9999999999",
    b"1" + b"0" * 30,
    b"1e400",
    b"0.5",
    b"NaN",
    b"null",
    b'"7"',
    b"[]",
)


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def make_model(folder: Path) -> dict[str, bytes]:
    """Saves a valid model with both kinds of vocabulary; returns the bytes of its files by name."""
    tokenizer = WordPiece(PIECES)
    folder.mkdir()
    save(folder, factories.make_model(tokenizer=tokenizer, max_len=16, **SIZES))
    fast = {
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "handle_chinese_chars": True},
        "model": {"type": "WordPiece", "vocab": tokenizer.index},
    }
    (folder / "tokenizer.json").write_text(json.dumps(fast, ensure_ascii=False), encoding="utf-8")
    load(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def open_model(folder: Path) -> str:
    """Opens a model.  Returns "opened", "refused" (DataError in one line), or what went wrong."""
    began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load(folder)
        result = "opened"
    except DataError as error:
        result = "refused" if "\n" not in str(error) else f"two lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if time.process_time() - began > MAX_SECONDS:
        return f"{time.process_time() - began:.1f} s"
    n_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    return result if n_bytes < MAX_BYTES else f"{n_bytes >> 20} MiB"


def mutated(name: str, data: bytes, choose: random.Random) -> bytes:
    """Makes one to three random changes.  In a file of tensors it changes only the header."""
    if name != "model.safetensors":
        return changed(data, choose)
    size = struct.unpack("<Q", data[:8])[0]
    header = changed(data[8 : 8 + size], choose)
    length = choose.choice([len(header), size, choose.getrandbits(64), choose.randrange(1 << 20), 1 << 63])
    length = length if choose.random() < 0.2 else len(header)
    return struct.pack("<Q", length) + header + data[8 + size : len(data) - choose.choice([0, 0, 0, 1, 64])]


def changed(data: bytes, choose: random.Random) -> bytes:
    """Flips a bit, removes, repeats or inserts bytes, or replaces a number; one to three times."""
    for _ in range(choose.randint(1, 3)):
        start = choose.randrange(len(data) + 1)
        end = min(len(data), start + choose.randint(1, 12))
        kind = choose.randrange(5)
        numbers = [*re.finditer(rb"-?\d+(\.\d+)?", data)] if kind > 2 else []
        if numbers:
            found = choose.choice(numbers)
            data = data[: found.start()] + choose.choice(NUMBERS) + data[found.end() :]
        elif kind == 0 and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << choose.randrange(8)]) + data[start + 1 :]
        elif kind == 1:
            data = data[:start] + data[end:]
        else:
            data = data[:start] + choose.choice([data[start:end], choose.randbytes(4)]) + data[start:]
    return data


def mutations(folder: Path, files: dict[str, bytes], n_trials: int, choose: random.Random) -> dict[str, int]:
    """Opens directories in which one file was changed; counts the results."""
    counts: dict[str, int] = {}
    names = ["model.safetensors", *TEXT_FILES]
    for _ in range(n_trials):
        (name,) = choose.choices(names, weights=[4, 2, 1, 1, 1])
        data = mutated(name, files[name], choose)
        (folder / name).write_bytes(data)
        if name == "tokenizer.json":  # vocab.txt would be read instead
            (folder / "vocab.txt").unlink()
        result = open_model(folder)
        counts[result] = counts.get(result, 0) + 1
        if result not in ("opened", "refused"):
            print(f"{name}: {result}\n{data!r:.2000}", file=sys.stderr)
        for one in {name, "vocab.txt"}:
            (folder / one).write_bytes(files[one])
    return counts


def with_length(header: bytes, n_bytes: int = 0) -> bytes:
    """A file of safetensors: the length of the header, the header, and so many bytes of tensors."""
    return struct.pack("<Q", len(header)) + header + bytes(n_bytes)


def header_of(tensors: dict, n_bytes: int) -> bytes:
    return with_length(json.dumps(tensors).encode(), n_bytes)


def numbered(key: str, value: str, n: int) -> bytes:
    """A JSON object of `n` keys, with the number in place of %d.  Much faster than a dict and json.dumps."""
    item = f'"{key}":{value}'
    return ("{" + ",".join([item.replace("%d", str(i)) for i in range(n)]) + "}").encode()


def entry(begin: int, end: int, shape: list[int]) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def torch_file(tensors: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def packed(data: bytes) -> bytes:
    """The same zip file with compressed records."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as records,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out,
    ):
        for record in records.infolist():
            out.writestr(record.filename, records.read(record) + bytes(MiB) * record.filename.endswith("/0"))
    return file.getvalue()


def giants(files: dict[str, bytes]) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Title -> (name of the file to replace, function that makes its bytes)."""
    config = json.loads(files["config.json"])
    tensor = json.dumps(entry(0, 0, [0]))
    weights = safetensors.torch.load(files["model.safetensors"])

    def configured(**values) -> Callable[[], bytes]:
        return lambda: json.dumps(config | values).encode()

    def tagged() -> bytes:
        """The config with a hundred thousand tags."""
        others = {key: value for key, value in config.items() if key != "id2label"}
        tags = numbered("%d", '"B-L%d"', 100_000)
        return json.dumps(others).encode()[:-1] + b', "id2label": ' + tags + b"}"

    return {
        "a header of 2^63 bytes": ("model.safetensors", lambda: struct.pack("<Q", 1 << 63) + b"{}"),
        "a header of 2^64 - 1": ("model.safetensors", lambda: b"\xff" * 64),
        "a header past the end": ("model.safetensors", lambda: struct.pack("<Q", 1 << 20) + b"{}"),
        "a million tensors": ("model.safetensors", lambda: with_length(numbered("t%d", tensor, 1_000_000))),
        "tensors that overlap": (
            "model.safetensors",
            lambda: header_of({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12),
        ),
        "a tensor of 2^62 numbers": (
            "model.safetensors",
            lambda: header_of({"a": entry(0, 8, [1 << 62])}, 8),
        ),
        "a shape that overflows": (
            "model.safetensors",
            lambda: header_of({"a": entry(0, 0, [1 << 63, 1 << 63, 0])}, 0),
        ),
        "a header of brackets": ("model.safetensors", lambda: struct.pack("<Q", 3 * MiB) + b"[" * (3 * MiB)),
        "a billion layers": ("config.json", configured(num_hidden_layers=10**9)),
        "a billion layers of DistilBERT": (
            "config.json",
            configured(model_type="distilbert", n_layers=10**9),
        ),
        "a billion steps of ALBERT": (
            "config.json",
            configured(model_type="albert", embedding_size=4, num_hidden_layers=10**9),
        ),
        "a billion inner layers of ALBERT": (
            "config.json",
            configured(model_type="albert", embedding_size=4, inner_group_num=10**9),
        ),
        "a billion layers of an LSTM": (
            "config.json",
            configured(model_type="lstm", num_hidden_layers=10**9),
        ),
        "a width of 2^40": ("config.json", configured(hidden_size=1 << 40)),
        "a width beyond any integer": ("config.json", configured(hidden_size=10**40)),
        "a billion positions": ("config.json", configured(max_position_embeddings=10**9)),
        "a width as text": ("config.json", configured(hidden_size="4")),
        "a hundred thousand tags": ("config.json", tagged),
        "nested brackets": ("config.json", lambda: b"[" * (3 * MiB)),
        "nested objects": ("config.json", lambda: b'{"a":' * 9_000 + b"1" + b"}" * 9_000),
        "a hundred MB of brackets": ("config.json", lambda: b"[],"[:2] * 50_000_000),
        "a number of a million digits": (
            "config.json",
            lambda: b'{"hidden_size": ' + b"9" * 1_000_000 + b"}",
        ),
        "lists in tokenizer.json": ("tokenizer.json", lambda: b'{"model": [' + b"[]," * 5_000_000 + b"[]]}"),
        "a vocabulary of a million": (
            "tokenizer.json",
            lambda: b'{"model": {"type": "WordPiece", "vocab": %b}}' % numbered("p%d", "%d", 1_000_000),
        ),
        "a key twice among many": (
            "tokenizer_config.json",
            lambda: b"{" + b",".join(b'"k%d":1' % (i % 99_999) for i in range(100_000)) + b"}",
        ),
        "a vocabulary of empty lines": ("vocab.txt", lambda: b"\n" * 100_000_000),
        "a vocabulary of one line": ("vocab.txt", lambda: b"a" * 100_000_000),
        "packed weights": ("pytorch_model.bin", lambda: packed(torch_file(weights))),
        "a view of 2^50 numbers": (
            "pytorch_model.bin",
            lambda: torch_file(weights | {"more": torch.zeros(1).expand(1 << 25, 1 << 25)}),
        ),
        "a sparse tensor": (
            "pytorch_model.bin",
            lambda: torch_file(weights | {"more": torch.zeros(9).to_sparse()}),
        ),
        "half a million short pieces": (
            "vocab.txt",
            lambda: "".join(f"{piece}\n" for piece in [*PIECES, *map(str, range(500_000))]).encode(),
        ),
    }


def open_giants(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Opens each hostile file of `giants`; returns the results by title."""
    results = {}
    for title, (name, data) in giants(files).items():
        (folder / name).write_bytes(data())
        if name in READ_AFTER:
            (folder / READ_AFTER[name]).unlink()
        results[title] = open_model(folder)
        (folder / name).unlink()
        for one, content in files.items():
            (folder / one).write_bytes(content)
    return results


def payloads(folder: Path, files: dict[str, bytes], n_trials: int, choose: random.Random) -> tuple[int, bool]:
    """Reads pickles that would run code, unchanged and changed, under both names of a weight file.

    Returns how many were refused, and whether the code of any ran.
    """
    target = folder.parent / "ran"
    n_refused = 0
    torch.save({"a": Payload(target)}, folder.parent / "zipped.bin")
    kinds = [
        pickle.dumps(Payload(target), protocol=2),
        pickle.dumps({"bert.embeddings": Payload(target)}),
        (folder.parent / "zipped.bin").read_bytes(),
    ]
    (folder / "model.safetensors").unlink()
    for number in range(n_trials):
        data = kinds[number % 3]
        if number >= 6:
            data = changed(data, choose)
        name = ("pytorch_model.bin", "model.safetensors")[number % 2]
        (folder / name).write_bytes(data)
        with contextlib.suppress(ValueError):
            read_weights(folder)
            n_refused -= 1
        n_refused += 1
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(files["model.safetensors"])
    return n_refused, target.exists()


def trials(
    folder: Path, choose: random.Random, fork: Callable, quick: bool
) -> Iterator[tuple[str, int, int, str]]:
    """Yields rows of the table: fault, passed, of, remark.  The trials run in child processes."""
    files = make_model(folder / "model")
    answer = folder / "answer.json"

    def ask(act: Callable[[], object]):
        answer.unlink(missing_ok=True)
        ended = fork(lambda: answer.write_text(json.dumps(act())) and 0)
        if ended.output or ended.code:
            print(ended.output, file=sys.stderr)
        return json.loads(answer.read_text()) if answer.exists() else None

    n_trials = 30 if quick else 1000
    n_refused, ran = ask(lambda: payloads(folder / "model", files, n_trials, choose)) or (0, True)
    yield "malicious pickles as weights: refused, none ran", n_refused * (not ran), n_trials, ""
    results = ask(lambda: open_giants(folder / "model", files)) or {}
    refused = [title for title, result in results.items() if result == "refused"]
    wrong = {title: result for title, result in results.items() if result != "refused"}
    yield (
        "files of hostile size or shape: refused within 2 s and 1 GiB",
        len(refused),
        max(1, len(results)),
        f"not refused: {wrong}" if wrong else "",
    )
    counts: dict[str, int] = {}
    n_parts = 1 if quick else 20
    n_trials = 200 if quick else 20_000
    for seed in range(n_parts):
        part = random.Random(seed)
        found = ask(lambda part=part: mutations(folder / "model", files, n_trials // n_parts, part)) or {}
        for result, count in found.items():
            counts[result] = counts.get(result, 0) + count
    n_passed = counts.get("opened", 0) + counts.get("refused", 0)
    remark = f"{counts.get('refused', 0)} refused, {counts.get('opened', 0)} harmless and opened"
    yield "mutations of model files: opened or refused in one line", n_passed, n_trials, remark
