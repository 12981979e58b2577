"""Batches to answers, and torch.compile for an encoder that reads much text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ner.annotations import Answer
from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.errors import DataError
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


def compile_encoder(tagger: Tagger) -> None:
    """Makes torch compile the encoder at its first batch, for batches of any shape, in evaluation.

    On a CPU the weights become constants of the compiled program, so they must not change afterwards.
    DataError if the encoder is not BERT or a relative, or if there is no compiler.
    """
    if not tagger.encoder.can_compile:
        raise DataError("--compile: expected BERT or a relative of it, got another encoder")
    if tagger.device.type == "cpu":
        import torch._inductor.config  # here, because it takes a second
        from torch._inductor import cpp_builder, exc

        try:
            cpp_builder.get_cpp_compiler()
        except exc.InvalidCxxCompiler:
            expected = "expected g++ or clang, or one named by CXX"
            raise DataError(f"--compile: no C++ compiler found, {expected}") from None
        # a global switch: the `options` of torch.compile do not reach the part that lays out weights
        torch._inductor.config.freezing = True
    tagger.encoder = torch.compile(tagger.encoder, dynamic=True)
