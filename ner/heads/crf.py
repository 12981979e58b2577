"""A linear-chain conditional random field (Lafferty, McCallum and Pereira, 2001) on pytorch-crf."""

import numpy as np
import torch
from torchcrf import CRF

from ner.batch import Batch
from ner.heads.flat import FlatHead
from ner.tags import TagSet


class CrfHead(FlatHead):
    """Emissions from a linear layer, transitions learned by `torchcrf.CRF`, all in float32.

    The loss is pytorch-crf's, over all tag sequences; decoding is over the legal ones.
    """

    def __init__(self, width: int, tag_set: TagSet, *, dropout: float = 0.1):
        super().__init__(width, tag_set, dropout=dropout)
        self.crf = CRF(len(tag_set), batch_first=True)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): the negative log-likelihood of the gold tags, in nats."""
        with torch.autocast(scores.device.type, enabled=False):
            return -self.crf(scores.float(), self.gold_tags(batch), mask=batch.mask, reduction="none")

    def transitions(self) -> np.ndarray:
        n_tags = self.crf.num_tags
        table = np.zeros((n_tags + 1, n_tags + 1))
        table[:-1, :-1] = self.crf.transitions.detach().float().cpu().numpy()
        table[-1, :-1] = self.crf.start_transitions.detach().float().cpu().numpy()
        table[:-1, -1] = self.crf.end_transitions.detach().float().cpu().numpy()
        return table
