"""Raw texts in, entities out."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ner.data.batches import Batches
from ner.data.examples import encode
from ner.data.sentence import Sentence
from ner.data.words import split_words
from ner.inference.predict import predict
from ner.model.directory import Model

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
    """Tags raw texts; yields one object a text, in order, an empty text too.

    `{"text", "entities": [{"start", "end", "label", "text", "score"}]}`, offsets in code points,
    `text[start:end]` the entity.  Texts are read in chunks of at most `chunk_texts`, sorted by length
    inside, and a chunk is answered before the next is read.
    """
    for chunk in chunks(texts, chunk_texts):
        cut = [split_words(text, model.unit) for text in chunk]
        yield from tag_tokens(model, chunk, cut, device=device, batch_tokens=batch_tokens)


def tag_tokens(
    model: Model,
    texts: Sequence[str],
    cut: Sequence[Sequence[tuple[int, int]]],
    *,
    device: torch.device,
    batch_tokens: int,
) -> Iterator[dict]:
    """As `tag_texts`, for texts that are already cut into tokens, start and end of each."""
    rows = [row for row, tokens in enumerate(cut) if tokens]
    sentences = [Sentence(tuple(texts[row][start:end] for start, end in cut[row]), None) for row in rows]
    found: dict[int, list] = {}
    if sentences:
        examples = encode(sentences, model.tokenizer)
        loader = Batches(examples, windows=model.windows, batch_tokens=batch_tokens)
        spans, _ = predict(model.tagger, loader, device=device)
        found = dict(zip(rows, spans, strict=True))
    for row, (text, tokens) in enumerate(zip(texts, cut, strict=True)):
        entities = []
        for span in found.get(row, ()):
            start, end = tokens[span.start][0], tokens[span.end - 1][1]
            entity = {"start": start, "end": end, "label": span.label, "text": text[start:end]}
            entities.append(entity | {"score": float(f"{span.score:.6g}")})
        yield {"text": text, "entities": entities}


def tag_sentences(
    model: Model,
    sentences: Sequence[Sentence],
    *,
    device: torch.device,
    batch_tokens: int,
) -> Iterator[dict]:
    """As `tag_texts`, for sentences of a built split: tokens end to end (unit char) or a space between."""
    gap = 0 if model.unit == "char" else 1
    for first in range(0, len(sentences), CHUNK_TEXTS):
        chunk = sentences[first : first + CHUNK_TEXTS]
        cut = []
        for sentence in chunk:
            lengths = np.fromiter(map(len, sentence.tokens), np.int64, len(sentence.tokens))
            ends = np.cumsum(lengths + gap) - gap
            cut.append(list(zip((ends - lengths).tolist(), ends.tolist(), strict=True)))
        texts = [(" " * gap).join(sentence.tokens) for sentence in chunk]
        yield from tag_tokens(model, texts, cut, device=device, batch_tokens=batch_tokens)


def chunks(texts: Iterable[str], chunk_texts: int) -> Iterator[list[str]]:
    """The texts, `chunk_texts` or CHUNK_CHARACTERS at a time."""
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
