"""What runs left in their directories, read back: how far each came, and how good it was."""

import json
from pathlib import Path

from ner.corpus import DataError, read_text

EPOCH = {"epoch": int, "val_f1": float, "seconds": float, "tokens_per_second": float}


def read_epochs(directory: Path) -> list[dict]:
    """The lines of `metrics.jsonl`; DataError names the first that is none."""
    path = directory / "metrics.jsonl"
    epochs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            values = json.loads(line)
            missing = [key for key, kind in EPOCH.items() if not isinstance(values[key], kind | int)]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not the line of an epoch, {error!r}") from None
        if missing:
            raise DataError(f"{path}:{number}: {missing[0]}: got {values[missing[0]]!r}, expected a number")
        epochs.append(values)
    if not epochs:
        raise DataError(f"{path}: empty, expected a line an epoch")
    return epochs


def best_f1(epochs: list[dict]) -> float:
    """On val, of the epoch whose model is `best`; a fraction."""
    return max(epoch["val_f1"] for epoch in epochs)


def minutes(epochs: list[dict]) -> float:
    """Of training; validation is not in them."""
    return sum(epoch["seconds"] for epoch in epochs) / 60


def tokens_per_second(epochs: list[dict]) -> float:
    """Of training, over all epochs."""
    seconds = sum(epoch["seconds"] for epoch in epochs)
    n_tokens = sum(epoch["tokens_per_second"] * epoch["seconds"] for epoch in epochs)
    return n_tokens / seconds if seconds else 0.0
