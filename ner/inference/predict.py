"""Batches and raw texts to answers, and torch.compile for an encoder that reads much text."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

import numpy as np
import torch
from torch import nn

from ner.annotations import ANNOTATIONS, Answer
from ner.annotations.base import Offsets
from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.windows import encode
from ner.data.words import UNSPACED, is_unspaced, join_words, split_words
from ner.errors import DataError
from ner.inference.scheme_check import SchemeCheck
from ner.model.tagger import Model, Tagger
from ner.runtime import distributed
from ner.runtime.devices import casts_kept
from ner.runtime.logs import log

T = TypeVar("T")
CHUNK_TEXTS = 2048
CHUNK_CHARACTERS = 200_000
# called with sentence numbers, the batch on its device, its scores, losses (B,) or None, answers
OnBatch = Callable[[np.ndarray, Batch, Any, torch.Tensor | None, list[Answer]], None]


@torch.no_grad()  # inference_mode would keep autocast from caching casts of weights
def predict(
    tagger: Tagger,
    batches: Batches,
    *,
    device: torch.device,
    replicas: nn.Module | None = None,
    shared: bool = False,
    on_batch: OnBatch = lambda indices, batch, scores, losses, answers: None,
) -> tuple[list[Answer], float | None]:
    """Answers for every sentence, in the order of the examples, and the loss in nats a token.

    The loss is None if the batches hold no gold.  `on_batch` is called after each batch.  `shared`: all
    processes call this function; each predicts its share of the batches and returns all answers.
    """
    model = replicas or tagger
    model.eval()
    found: dict[int, Answer] = {}
    loss_sum, n_tokens = 0.0, 0
    order = batches.batch_indices(0)
    if shared:
        order = order[distributed.rank() :: distributed.world_size()]
    with casts_kept(device.type):
        for indices in order:
            batch = batches.collate(indices)
            moved = batch.to(device)
            scores, losses = model(moved)
            answers = tagger.head.answers(scores, moved)
            on_batch(indices, moved, scores, losses, answers)
            for i, answer in zip(indices, answers, strict=True):
                found[i] = batches.restore(i, answer)
            if losses is not None:
                loss_sum += losses.sum().item()
                n_tokens += batch.n_tokens
    if shared:
        loss_sum, n_tokens = distributed.all_sum([loss_sum, n_tokens])
        found = {i: answer for part in distributed.all_gather(found) for i, answer in part.items()}
    return [found[i] for i in range(len(found))], loss_sum / n_tokens if n_tokens else None


def tag_texts(model: Model, texts: Iterable[str], **options) -> Iterator[dict]:
    """Tags raw texts; yields one object a text, in order, also for an empty text; `options` as `tag_tokens`.

    `{"text": ...}` and the keys of each annotation, such as `"entities": [{"start", "end", "label", "text",
    "score"}]`, in code points.
    """
    return tag_tokens(model, split_texts(model, texts), **options)


def split_texts(model: Model, texts: Iterable[str]) -> Iterator[tuple[str, Offsets]]:
    """Each text and its tokens; logs the first text whose words the model's unit cannot tell apart."""
    is_reported = model.unit == "char"
    for number, text in enumerate(texts, start=1):
        if not is_reported and is_unspaced(text):
            log.info(f"text {number} is {UNSPACED}, for which a model must be trained on characters")
            is_reported = True
        yield text, split_words(text, model.unit, model.words)


def tag_sentences(model: Model, sentences: Iterable[Sentence], **options) -> Iterator[dict]:
    """As `tag_texts`, for sentences of a built split: tokens joined without (unit char) or with a space."""
    return tag_tokens(model, (join_words(s.tokens, model.unit) for s in sentences), **options)


def tag_tokens(
    model: Model, texts: Iterable[tuple[str, Offsets]], *, device: torch.device, **options
) -> Iterator[dict]:
    """As `tag_texts`, for texts with start and end of each token; `options` as `answer_texts`."""
    check = SchemeCheck(model)

    def answer(batches: Batches) -> list[Answer]:
        return check(lambda on_batch: predict(model.tagger, batches, device=device, on_batch=on_batch)[0])

    for text, tokens, values in answer_texts(model, texts, answer, **options):
        line: dict = {"text": text}
        for name in model.tagger.head.annotations:
            line |= ANNOTATIONS[name].to_json(text, tokens, values[name] if tokens else ())
        yield line


def answer_texts(
    model: Model,
    texts: Iterable[tuple[str, Offsets]],
    answer: Callable[[Batches], Sequence[T]],
    *,
    batch_tokens: int,
    chunk_texts: int = CHUNK_TEXTS,
) -> Iterator[tuple[str, Offsets, T | None]]:
    """Each text and its tokens with the answer of its sentence in batches, None if it has no tokens.

    At most `chunk_texts` texts, or CHUNK_CHARACTERS characters, are answered before the next one is read.
    """
    for chunk in chunks(texts, lambda pair: len(pair[0]), most=CHUNK_CHARACTERS, most_items=chunk_texts):
        sentences = [Sentence(tuple(text[i:j] for i, j in tokens)) for text, tokens in chunk if tokens]
        examples = encode(sentences, model.tokenizer)
        answers = iter(answer(Batches(examples, windows=model.windows, batch_tokens=batch_tokens)))
        yield from ((text, tokens, next(answers) if tokens else None) for text, tokens in chunk)


def chunks(
    items: Iterable[T], size: Callable[[T], int], *, most: int, most_items: float = math.inf
) -> Iterator[list[T]]:
    """Groups of items: a group ends when its items are `most` by their sizes, or `most_items` by number."""
    chunk: list[T] = []
    total = 0
    for item in items:
        chunk.append(item)
        total += size(item)
        if len(chunk) == most_items or total >= most:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def write_json_lines(answers: Iterable[dict], file: TextIO) -> None:
    """One JSON object a line; each line is flushed, so that a reader at the other end of a pipe has it."""
    for values in answers:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()


WRITERS: dict[str, Callable[[Iterable[dict], TextIO], None]] = {"jsonl": write_json_lines}


def compile_encoder(tagger: Tagger) -> None:
    """Makes torch compile the encoder at its first batch, for batches of any shape, in evaluation.

    On a CPU the weights become constants of the compiled program, so they must not change afterwards.
    DataError if the encoder is not BERT or a relative, or if there is no compiler.
    """
    if not tagger.encoder.can_compile:
        raise DataError("--compile: expected BERT or a relative of it, got another encoder")
    if tagger.device.type == "cpu":
        from torch._inductor import config, cpp_builder, exc  # here, because it takes a second

        try:
            cpp_builder.get_cpp_compiler()
        except exc.InvalidCxxCompiler:
            expected = "expected g++ or clang, or one named by CXX"
            raise DataError(f"--compile: no C++ compiler found, {expected}") from None
        # a global switch: the `options` of torch.compile do not reach the part that lays out weights
        config.freezing = True
    tagger.encoder = torch.compile(tagger.encoder, dynamic=True)
