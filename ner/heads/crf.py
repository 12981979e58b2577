"""A linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001).

`torchcrf.CRF` only holds the parameters, under its names; `ner.heads.log_partition` sums faster.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchcrf import CRF

from ner.data.batch import Batch
from ner.heads.base import HeadOptions
from ner.heads.flat import FlatHead
from ner.heads.log_partition import log_partition


class CrfHead(FlatHead):
    """The loss sums over all tag sequences, as pytorch-crf's does; decoding searches the legal ones."""

    Options = HeadOptions

    def __init__(self, width: int, inventories: Mapping[str, Any], options: HeadOptions | None = None):
        super().__init__(width, inventories, options)
        self.crf = CRF(len(self.tag_set), batch_first=True)

    def transition_parameters(self) -> list[nn.Parameter]:
        return [self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions]

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of the gold tags."""
        tags, learned = self.gold_classes(batch), self.transition_parameters()
        log_z = log_partition(scores, batch.mask, *learned)
        return (log_z - path_scores(scores, tags, batch.mask, *learned)).float()

    def probabilities(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        """Marginals: the gradient of log Z by the emissions."""
        learned = [x.detach() / temperature for x in self.transition_parameters()]
        with torch.enable_grad():
            emissions = (scores.detach() / temperature).requires_grad_()
            log_z = log_partition(emissions, batch.mask, *learned)
            return torch.autograd.grad(log_z.sum(), emissions)[0]

    def soft_loss(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        """-E log p(path), with the tags of the path drawn independently from the teacher's probabilities.

        Exact for a softmax teacher; for a CRF teacher an approximation, because marginals are not joint.
        """
        scores, learned = scores / temperature, [x / temperature for x in self.transition_parameters()]
        log_z = log_partition(scores, batch.mask, *learned)
        expected = expected_scores(scores, batch.gold["soft_tags"], batch.mask, *learned)
        return temperature**2 * (log_z - expected).float()

    def transition_table(self) -> np.ndarray:
        inner, start, end = (x.double().numpy(force=True) for x in self.transition_parameters())
        return np.block([[inner, end[:, None]], [start, 0.0]])


def path_scores(
    emissions: Tensor, tags: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """(B,) float64: score of one tag sequence (B, T) int64 of each sentence; others as in `log_partition`."""
    last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
    at_tokens = emissions.gather(2, tags[..., None]).squeeze(2).double()
    between = transitions[tags[:, :-1], tags[:, 1:]].double()
    inside = at_tokens.where(mask, 0.0).sum(1) + between.where(mask[:, 1:], 0.0).sum(1)
    return inside + start[tags[:, 0]] + end[last]


def expected_scores(
    emissions: Tensor, soft: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """(B,) float64: mean score of tag sequences whose tags are drawn independently from soft (B, T, K)."""
    soft, rows = soft.double(), torch.arange(len(mask), device=mask.device)
    at_tokens = (emissions.double() * soft).sum(-1)
    between = ((soft[:, :-1] @ transitions.double()) * soft[:, 1:]).sum(-1)
    inside = at_tokens.where(mask, 0.0).sum(1) + between.where(mask[:, 1:], 0.0).sum(1)
    return inside + soft[:, 0] @ start.double() + soft[rows, mask.sum(1) - 1] @ end.double()
