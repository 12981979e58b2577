"""Vectors of texts and of their tokens, from a pretrained or a fine-tuned model.

Reimers and Gurevych 2019 compare `mean`, `max` and `cls` (of the first window); `tokens` is one a token.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ner.data.batches import Batches
from ner.errors import DataError
from ner.files import growing_array, whole_file
from ner.heads.base import Hidden
from ner.inference.predict import answer_texts, split_texts
from ner.model.directory import ModelDirectory
from ner.model.features import build_features
from ner.model.tagger import Model, Tagger
from ner.runtime.devices import autocast

# hidden state and mask (B, T) -> (B, W), or (B, T, W) for one vector a token
POOLINGS: dict[str, Callable[[Hidden, Tensor], Tensor]] = {
    "mean": lambda hidden, mask: (hidden.tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True),
    "max": lambda hidden, mask: hidden.tokens.masked_fill(~mask[..., None], -torch.inf).amax(1),
    "cls": lambda hidden, mask: hidden.cls[:, 0],
    "tokens": lambda hidden, mask: hidden.tokens,
}


@dataclass(frozen=True)
class TextVectors:
    text: str
    tokens: list[tuple[int, int]]
    "start and end of each token in code points"
    vectors: np.ndarray
    "(W,) float32, or (T, W) with one vector a token"


def open_for_vectors(model_dir: str | Path, *, layers: str | int = "last", **options) -> Model:
    """A tagger without a head from any model directory; `layers` as in params.json, except `mix`.

    `options` are `unit` and `max_len`, as for `load`.  DataError as there, or if there are too few layers.
    """
    directory = ModelDirectory(model_dir)
    reading = directory.reading(long_text="windows", **options)
    if layers == "mix":
        expected = "expected last, concat4, max4 or a number"
        raise DataError(f"layers: got 'mix', which is learned in training, {expected}")
    features = build_features(directory.encoder, layers, "none", where=str(model_dir))
    tagger = Tagger(directory.encoder, nn.Module(), features).eval()
    return Model(tagger, directory.tokenizer, report=directory.log_lines(), **reading)


def vectors_of(
    model: Model, texts: Iterable[str], *, pooling: str, device: torch.device, **options
) -> Iterator[TextVectors]:
    """One object a text, in order; a text without tokens has a vector of zeros, or no token vectors.

    `options` as `answer_texts`.
    """
    width = model.tagger.width
    nothing = np.zeros((0, width) if pooling == "tokens" else width, np.float32)
    answer = partial(_encode, model.tagger, pooling=pooling, device=device)
    for text, tokens, vectors in answer_texts(model, split_texts(model, texts), answer, **options):
        yield TextVectors(text, tokens, vectors if tokens else nothing)


@torch.inference_mode()
def _encode(tagger: Tagger, batches: Batches, *, pooling: str, device: torch.device) -> list[np.ndarray]:
    found = {}
    for indices, batch in batches.batches():
        moved = batch.to(device)
        with autocast(device.type, tagger.precision):
            hidden = tagger.encode(moved)
        hidden = hidden._replace(tokens=hidden.tokens.float(), cls=hidden.cls.float())
        pooled = POOLINGS[pooling](hidden, moved.mask).cpu().numpy()
        n_tokens = batch.mask.sum(dim=1).tolist()
        for row, i in enumerate(indices):
            found[i] = pooled[row, : n_tokens[row]] if pooled.ndim == 3 else pooled[row]
    return [found[i] for i in range(len(found))]


def write_npy(path: Path, found: Iterable[TextVectors], width: int, *, tokens: bool) -> int:
    """Writes a float32 array (texts, W); with `tokens` (tokens, W), and `<name>.lengths.npy` (texts,) int64.

    The array is written row by row, so texts need not fit into memory.  Returns the number of texts.
    """
    lengths: list[int] = []
    with growing_array(path, np.float32, (width,)) as append:
        for item in found:
            rows = item.vectors.reshape(-1, width)
            append(rows)
            lengths.append(len(rows))
    lengths_path = path.with_suffix(".lengths.npy")
    if tokens:
        with whole_file(lengths_path, binary=True) as file:
            np.save(file, np.array(lengths, np.int64))
    else:
        lengths_path.unlink(missing_ok=True)  # written with another array
    return len(lengths)


def as_json(item: TextVectors) -> dict:
    """`{"text", "vector"}`, or `{"text", "tokens": [{"start", "end", "vector"}]}`."""
    rounded = item.vectors.astype(float).round(6).tolist()
    if item.vectors.ndim == 1:
        return {"text": item.text, "vector": rounded}
    tokens = zip(item.tokens, rounded, strict=True)
    return {"text": item.text, "tokens": [{"start": s, "end": e, "vector": v} for (s, e), v in tokens]}
