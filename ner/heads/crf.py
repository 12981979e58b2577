"""A linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001) on pytorch-crf."""

import numpy as np
import torch
from torchcrf import CRF

from ner.data.batch import Batch
from ner.heads import log_partition
from ner.heads.flat import FlatHead
from ner.tags import TagSet


class CrfHead(FlatHead):
    """Emissions from a linear layer, transitions learned by `torchcrf.CRF`, all in float32.

    The loss is pytorch-crf's, over all tag sequences, by our own sums; decoding is over the legal ones.
    """

    def __init__(self, width: int, tag_set: TagSet, *, dropout: float = 0.1):
        super().__init__(width, tag_set, dropout=dropout)
        self.crf = CRF(len(tag_set), batch_first=True)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): the negative log-likelihood of the gold tags, in nats."""
        tags, learned = self.gold_tags(batch), self._learned()
        with torch.autocast(scores.device.type, enabled=False):
            log_z = log_partition.log_partition(scores, batch.mask, *learned)
            return (log_z - path_scores(scores, tags, batch.mask, *learned)).float()

    def probabilities(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        """Marginals, the gradient of log Z."""
        learned = [x.detach() / temperature for x in self._learned()]
        with torch.enable_grad(), torch.autocast(scores.device.type, enabled=False):
            emissions = (scores.detach() / temperature).requires_grad_()
            log_z = log_partition.log_partition(emissions, batch.mask, *learned)
            return torch.autograd.grad(log_z.sum(), emissions)[0]

    def soft_loss(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        """-E log p(path), the path's tags drawn each on its own from the teacher's probabilities.

        Of a softmax teacher that is the cross-entropy of whole taggings; of a CRF, whose marginals these are,
        all but what two neighbours tell of each other, which only the transitions would see.
        """
        learned = [x / temperature for x in self._learned()]
        with torch.autocast(scores.device.type, enabled=False):
            log_z = log_partition.log_partition(scores / temperature, batch.mask, *learned)
            expected = expected_scores(scores / temperature, batch.soft, batch.mask, *learned)
            return temperature**2 * (log_z - expected).float()

    def _learned(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions

    def transitions(self) -> np.ndarray:
        n_tags = self.crf.num_tags
        table = np.zeros((n_tags + 1, n_tags + 1))
        table[:-1, :-1] = self.crf.transitions.detach().float().cpu().numpy()
        table[-1, :-1] = self.crf.start_transitions.detach().float().cpu().numpy()
        table[:-1, -1] = self.crf.end_transitions.detach().float().cpu().numpy()
        return table


def path_scores(
    emissions: torch.Tensor,
    tags: torch.Tensor,
    mask: torch.Tensor,
    transitions: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
) -> torch.Tensor:
    """(B,) float64: the score of one tagging (B, T) int64 of each sentence; the rest as `log_partition`."""
    last = tags.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
    at_tokens = emissions.gather(2, tags[..., None]).squeeze(2).double()
    between = transitions[tags[:, :-1], tags[:, 1:]].double()
    inside = at_tokens.where(mask, 0.0).sum(1) + between.where(mask[:, 1:], 0.0).sum(1)
    return inside + start[tags[:, 0]] + end[last]


def expected_scores(
    emissions: torch.Tensor,
    soft: torch.Tensor,
    mask: torch.Tensor,
    transitions: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
) -> torch.Tensor:
    """(B,) float64: the mean score of taggings whose tags are drawn token by token from soft (B, T, K)."""
    soft, rows = soft.double(), torch.arange(len(mask), device=mask.device)
    at_tokens = (emissions.double() * soft).sum(-1)
    between = ((soft[:, :-1] @ transitions.double()) * soft[:, 1:]).sum(-1)
    inside = at_tokens.where(mask, 0.0).sum(1) + between.where(mask[:, 1:], 0.0).sum(1)
    return inside + soft[:, 0] @ start.double() + soft[rows, mask.sum(1) - 1] @ end.double()
