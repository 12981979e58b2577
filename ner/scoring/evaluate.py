"""Scores of a model on annotated sentences."""

from collections.abc import Sequence

import torch
from torch import nn

from ner.annotations.spans import Scores, score
from ner.data.batches import Batches
from ner.data.examples import encode
from ner.data.sentence import Sentence, Split
from ner.inference.predict import predict
from ner.model.directory import Model
from ner.tags import Span


def evaluate(
    model: Model, loader: Batches, *, device: torch.device, **options
) -> tuple[Scores, float, list[list[Span]]]:
    """Scores of a model on annotated examples, its loss in nats a token, and the spans it predicts.

    `options` are those of `predict`.
    """
    found, loss = predict(model.tagger, loader, device=device, **options)
    sentences = loader.sentences
    predicted = [[scored.span for scored in spans] for spans in found]
    scores = score([s.spans for s in sentences], predicted, [len(s.tokens) for s in sentences])
    return scores, loss, predicted


def annotated_loader(model: Model, sentences: Sequence[Sentence], *, batch_tokens: int) -> Batches:
    """Batches to score a model on."""
    return Batches(
        encode(sentences, model.tokenizer),
        windows=model.windows,
        batch_tokens=batch_tokens,
        label_ids=model.label_ids,
        learnable=model.tagger.head.learnable,
    )


def unread_gold(loader: Batches, name: str) -> list[str]:
    """What is to be said of gold that lies where long sentences are cut off."""
    if loader.kept is None:
        return []
    n_gold = sum(len(sentence.spans or ()) for sentence in loader.sentences)
    n_cut = sum(len(kept) < len(s.tokens) for kept, s in zip(loader.kept, loader.sentences, strict=True))
    return [
        f"{name}: long_text {loader.windows.long_text} cuts {n_cut} of {len(loader.sentences)} sentences; "
        f"{loader.n_unread} of {n_gold} gold entities are not read, and count as missed"
    ]


def missed_gold(head: nn.Module, split: Split) -> list[str]:
    """What is to be said of gold that a head could never find."""
    n_missed = sum(len(s.spans) - len(head.learnable(s.spans)) for s in split.sentences)
    if not n_missed:
        return []
    return [
        f"{n_missed} of {split.n_entities} gold entities overlap others or are longer than any of train's; "
        "this head cannot find them, they count as missed"
    ]
