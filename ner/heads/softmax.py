"""The token classifier of the BERT paper: each token's tag on its own; decoding alone knows the scheme."""

import torch
from torch.nn.functional import cross_entropy

from ner.batch import Batch
from ner.heads.flat import FlatHead


class SoftmaxHead(FlatHead):
    """Scores are log-odds of tags; its tensors are those of transformers' token classifiers."""

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): the sum over real tokens of the cross-entropy, in nats."""
        per_token = cross_entropy(scores.transpose(1, 2), self.gold_tags(batch), reduction="none")
        return (per_token * batch.mask).sum(dim=1)
