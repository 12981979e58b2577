"""A linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001) on pytorch-crf."""

import numpy as np
import torch
from torchcrf import CRF

from ner.batch import Batch
from ner.heads import partition
from ner.heads.flat import FlatHead
from ner.tags import TagSet


class CrfHead(FlatHead):
    """Emissions from a linear layer, transitions learned by `torchcrf.CRF`, all in float32.

    The loss is pytorch-crf's, over all tag sequences, by our own sums where they hold (`partition.fits`);
    decoding is over the legal ones.
    """

    def __init__(self, width: int, tag_set: TagSet, *, dropout: float = 0.1):
        super().__init__(width, tag_set, dropout=dropout)
        self.crf = CRF(len(tag_set), batch_first=True)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): the negative log-likelihood of the gold tags, in nats."""
        tags, crf = self.gold_tags(batch), self.crf
        learned = (crf.transitions, crf.start_transitions, crf.end_transitions)
        with torch.autocast(scores.device.type, enabled=False):
            if not partition.fits(*learned):
                return -crf(scores.float(), tags, mask=batch.mask, reduction="none")
            log_z = partition.log_partition(scores, batch.mask, *learned)
            return (log_z - path_scores(scores, tags, batch.mask, *learned)).float()

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
