"""Raw texts in, JSON objects with answers out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

import numpy as np
import torch

from ner.annotations import ANNOTATIONS
from ner.annotations.base import Offsets
from ner.data.batches import Batches
from ner.data.examples import encode
from ner.data.sentence import Sentence
from ner.data.words import split_words
from ner.inference.predict import predict
from ner.model.tagger import Model

CHUNK_TEXTS = 2048
CHUNK_CHARACTERS = 200_000


def tag_texts(
    model: Model,
    texts: Iterable[str],
    *,
    device: torch.device,
    batch_tokens: int,
    chunk_texts: int = CHUNK_TEXTS,
) -> Iterator[dict]:
    """Tags raw texts; yields one object a text, in order, also for an empty text.

    `{"text": ...}` and the keys of each annotation, such as `"entities": [{"start", "end", "label", "text",
    "score"}]`, in code points.  A chunk of at most `chunk_texts` is answered before the next one is read.
    """
    for chunk in chunks(texts, chunk_texts):
        offsets = [split_words(text, model.unit) for text in chunk]
        yield from tag_tokens(model, chunk, offsets, device=device, batch_tokens=batch_tokens)


def tag_tokens(
    model: Model, texts: Sequence[str], offsets: Sequence[Offsets], *, device: torch.device, batch_tokens: int
) -> Iterator[dict]:
    """As `tag_texts`, for texts whose tokens are known: start and end of each."""
    batches, rows = unannotated_batches(model, texts, offsets, batch_tokens=batch_tokens)
    answers, _ = predict(model.tagger, batches, device=device) if rows else ([], None)
    found = dict(zip(rows, answers, strict=True))
    for row, (text, tokens) in enumerate(zip(texts, offsets, strict=True)):
        values: dict = {"text": text}
        for name in model.tagger.head.annotations:
            value = found[row][name] if row in found else ()
            values |= ANNOTATIONS[name].to_json(text, tokens, value)
        yield values


def tag_sentences(
    model: Model, sentences: Sequence[Sentence], *, device: torch.device, batch_tokens: int
) -> Iterator[dict]:
    """As `tag_texts`, for sentences of a built split: tokens joined without (unit char) or with a space."""
    gap = 0 if model.unit == "char" else 1
    for first in range(0, len(sentences), CHUNK_TEXTS):
        chunk = sentences[first : first + CHUNK_TEXTS]
        offsets = []
        for sentence in chunk:
            lengths = np.fromiter(map(len, sentence.tokens), np.int64, len(sentence.tokens))
            ends = np.cumsum(lengths + gap) - gap
            offsets.append(list(zip((ends - lengths).tolist(), ends.tolist(), strict=True)))
        texts = [(" " * gap).join(sentence.tokens) for sentence in chunk]
        yield from tag_tokens(model, texts, offsets, device=device, batch_tokens=batch_tokens)


def unannotated_batches(
    model: Model, texts: Sequence[str], offsets: Sequence[Offsets], *, batch_tokens: int
) -> tuple[Batches, list[int]]:
    """Batches of the texts that have tokens, and the numbers of these texts."""
    rows = [row for row, tokens in enumerate(offsets) if tokens]
    sentences = [Sentence(tuple(texts[row][start:end] for start, end in offsets[row])) for row in rows]
    examples = encode(sentences, model.tokenizer)
    return Batches(examples, windows=model.windows, batch_tokens=batch_tokens), rows


def chunks(texts: Iterable[str], chunk_texts: int) -> Iterator[list[str]]:
    """Groups of at most `chunk_texts` texts; a group ends early at CHUNK_CHARACTERS characters."""
    chunk: list[str] = []
    n_characters = 0
    for text in texts:
        chunk.append(text)
        n_characters += len(text)
        if len(chunk) == chunk_texts or n_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, n_characters = [], 0
    if chunk:
        yield chunk


def write_json_lines(answers: Iterable[dict], file: TextIO) -> None:
    """One JSON object a line; each line is flushed, so that a reader at the other end of a pipe has it."""
    for values in answers:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()
