"""Small objects that several test files make."""

from collections.abc import Iterable

import torch

from ner.annotations.spans import SpanInventory
from ner.data.batch import Batch
from ner.data.batches import Targets
from ner.heads.base import Hidden
from ner.tags import TagSet


def make_inventories(tag_set: TagSet, **facts) -> dict[str, SpanInventory]:
    """What a head for spans must know."""
    return {"spans": SpanInventory(tag_set, **facts)}


def make_targets(labels: Iterable[str], learnable=None) -> Targets:
    """Targets of batches with spans of these labels, numbered in sorted order."""
    inventories = make_inventories(TagSet.from_labels(labels))
    return Targets(inventories) if learnable is None else Targets(inventories, learnable)


def make_hidden(tokens: torch.Tensor) -> Hidden:
    """Hidden states (B, T, W) of sentences with one window each."""
    return Hidden(tokens, tokens[:, :1], torch.ones(len(tokens), 1, dtype=torch.bool))


def slice_batch(batch: Batch, start: int, end: int) -> Batch:
    """Some sentences of a batch."""
    *tensors, gold = batch
    rows = (tensor[start:end] for tensor in tensors)
    return Batch(*rows, {name: tensor[start:end] for name, tensor in gold.items()})
