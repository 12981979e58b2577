"""Vectors of texts and of their tokens, out of a pretrained or a fine-tuned model.

`mean` and `max` are over the tokens of a text, `cls` is the state of [CLS] in its first window (Reimers and
Gurevych 2019 compare the three), `tokens` keeps one vector a token: that of its first piece.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.examples import encode
from ner.data.sentence import Sentence
from ner.data.windows import Windows
from ner.data.words import split_words
from ner.errors import DataError
from ner.files import whole_file
from ner.inference.texts import CHUNK_TEXTS, chunks
from ner.model.directory import ModelDirectory
from ner.model.features import build_features
from ner.model.model import Model
from ner.model.tagger import Tagger
from ner.npy import GrowingArray
from ner.runtime.devices import autocast

POOLINGS = {
    "mean": lambda hidden, mask: (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True),
    "max": lambda hidden, mask: hidden.masked_fill(~mask[..., None], -torch.inf).amax(1),
    "cls": lambda hidden, mask: hidden[:, 0],
    "tokens": None,
}


@dataclass(frozen=True)
class TextVectors:
    """A text, the (start, end) of its tokens in code points, and (W,) or, of its tokens, (T, W) float32."""

    text: str
    tokens: list[tuple[int, int]]
    vectors: np.ndarray


def open_for_vectors(model_dir: str | Path, *, layers: str | int = "last", **options) -> Model:
    """A tagger without a head from any model directory; `layers` as in params.json, but for `mix`.

    `options` are `unit` and `max_len`, as for `load`.  DataError as there, or for too few layers.
    """
    directory = ModelDirectory(model_dir)
    encoder, tokenizer = directory.encoder, directory.tokenizer
    unit, max_len = directory.unit_and_window(**options)
    if layers == "mix":
        raise DataError(
            "layers: got 'mix', which is learned in training, expected last, concat4, max4 or a number"
        )
    features = build_features(encoder, layers, "none", where=str(model_dir))
    tagger = Tagger(encoder, nn.Module(), features).eval()
    return Model(tagger, tokenizer, unit, max_len, tuple(directory.log_lines(directory.report)))


def vectors_of(
    model: Model,
    texts: Iterable[str],
    *,
    pooling: str,
    device: torch.device,
    batch_tokens: int,
    chunk_texts: int = CHUNK_TEXTS,
) -> Iterator[TextVectors]:
    """One object a text, in order; a text without tokens has a vector of zeros, or no token vectors."""
    for chunk in chunks(texts, chunk_texts):
        cut = [split_words(text, model.unit) for text in chunk]
        rows = [row for row, tokens in enumerate(cut) if tokens]
        sentences = [Sentence(tuple(chunk[row][t.start : t.end] for t in cut[row]), None) for row in rows]
        found = {}
        if sentences:
            loader = Batches(
                encode(sentences, model.tokenizer), windows=Windows(model.max_len), batch_tokens=batch_tokens
            )
            found = {rows[i]: vectors for i, vectors in _encoded(model.tagger, loader, pooling, device)}
        width = width_of(model.tagger)
        nothing = np.zeros((0, width) if pooling == "tokens" else width, np.float32)
        for row, (text, tokens) in enumerate(zip(chunk, cut, strict=True)):
            yield TextVectors(text, [(t.start, t.end) for t in tokens], found.get(row, nothing))


@torch.inference_mode()
def _encoded(
    tagger: Tagger, loader: Batches, pooling: str, device: torch.device
) -> Iterator[tuple[int, np.ndarray]]:
    for indices, batch in loader.batches():
        moved = batch.to(device)
        if pooling == "cls":
            moved = _first_piece(moved)
        with autocast(device.type, tagger.precision):
            hidden = tagger.encode(moved).float()
        pool = POOLINGS[pooling]
        pooled = (hidden if pool is None else pool(hidden, moved.mask)).cpu().numpy()
        for row, i in enumerate(indices):
            yield int(i), pooled[row, : int(batch.mask[row].sum())] if pool is None else pooled[row]


def _first_piece(batch: Batch) -> Batch:
    """The batch as if each sentence had one token, and [CLS] of its first window spoke for it."""
    place = torch.zeros_like(batch.token_piece[:, :1])
    return batch._replace(token_piece=place, mask=place == 0)


def width_of(tagger: Tagger) -> int:
    return tagger.features.width if tagger.features else tagger.encoder.width


def write_npy(path: Path, found: Iterable[TextVectors], width: int, *, tokens: bool) -> int:
    """Writes a float32 array (texts, W), or (tokens, W) and beside it `<name>.lengths.npy`, (texts,) int64.

    Row by row: the number of texts need not be known, nor all of them fit into memory.  Returns it.
    """
    lengths: list[int] = []
    with whole_file(path, binary=True) as file, GrowingArray(file, np.float32, (width,)) as array:
        for item in found:
            rows = item.vectors.reshape(-1, width)
            array.append(rows)
            lengths.append(len(rows))
    beside = path.with_suffix(".lengths.npy")
    if tokens:
        with whole_file(beside, binary=True) as file:
            np.save(file, np.array(lengths, np.int64))
    else:
        beside.unlink(missing_ok=True)  # of another array
    return len(lengths)


def as_json(item: TextVectors) -> dict:
    """`{"text", "vector"}`, or `{"text", "tokens": [{"start", "end", "vector"}]}`."""
    rounded = item.vectors.astype(float).round(6).tolist()
    if item.vectors.ndim == 1:
        return {"text": item.text, "vector": rounded}
    tokens = zip(item.tokens, rounded, strict=True)
    return {"text": item.text, "tokens": [{"start": s, "end": e, "vector": v} for (s, e), v in tokens]}
