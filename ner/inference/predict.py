"""Batches to answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ner.annotations import Answer
from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.model.tagger import Tagger
from ner.runtime import distributed
from ner.runtime.devices import casts_kept

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
