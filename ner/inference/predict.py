"""Batches to predictions."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.model.tagger import Tagger
from ner.runtime import distributed
from ner.runtime.devices import casts_kept
from ner.tags import ScoredSpan

# called with sentence numbers, the batch on its device, its scores, losses (B,) or None, spans found
OnBatch = Callable[[np.ndarray, Batch, torch.Tensor, torch.Tensor | None, list[list[ScoredSpan]]], None]


@torch.no_grad()  # inference_mode would not let autocast keep what it makes of a weight
def predict(
    tagger: Tagger,
    loader: Batches,
    *,
    device: torch.device,
    replicas: nn.Module | None = None,
    shared: bool = False,
    on_batch: OnBatch = lambda indices, batch, scores, losses, spans: None,
) -> tuple[list[list[ScoredSpan]], float | None]:
    """Spans of every sentence, in the order of the loader's examples, and the loss in nats a token.

    The loss is None where the loader gives no gold.  `on_batch` sees what became of every batch.  `shared`:
    all processes are here, each predicts for its share of the batches and returns what all have found.
    """
    model = replicas or tagger
    model.eval()
    found, loss_sum, n_tokens = {}, 0.0, 0
    batches = loader.batch_indices(0)
    if shared:
        batches = batches[distributed.rank() :: distributed.world_size()]
    with casts_kept(device.type):
        for indices in batches:
            batch = loader.collate(indices)
            moved = batch.to(device)
            scores, losses = model(moved)
            decoded = tagger.head.decode(scores, moved)
            on_batch(indices, moved, scores, losses, decoded)
            for i, spans in zip(indices, decoded, strict=True):
                found[i] = loader.restored(i, spans)
            if losses is not None:
                loss_sum += losses.sum().item()
                n_tokens += batch.n_tokens
    if shared:
        loss_sum, n_tokens = distributed.all_sum([loss_sum, n_tokens])
        found = {i: spans for part in distributed.all_gather(found) for i, spans in part.items()}
    return [found[i] for i in range(len(found))], loss_sum / n_tokens if n_tokens else None
