"""The token classifier of the BERT paper: each token's tag on its own; decoding alone knows the scheme."""

import torch

from ner.data.batch import Batch
from ner.heads.flat import FlatHead
from ner.heads.losses import cross_entropy


class SoftmaxHead(FlatHead):
    """Scores are log-odds of tags; its tensors are those of transformers' token classifiers.

    `criterion`, one of `ner.heads.losses`, is what it is trained with.
    """

    criterion = staticmethod(cross_entropy)

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): the sum over real tokens of the criterion, outside training of the cross-entropy, in nats."""
        criterion = self.criterion if self.training else cross_entropy
        per_token = criterion(scores, self.gold_tags(batch))
        return (per_token * batch.mask).sum(dim=1)

    def probabilities(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        return (scores.detach() / temperature).softmax(-1)

    def soft_loss(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        per_token = -(batch.soft * (scores / temperature).log_softmax(-1)).sum(-1)
        return temperature**2 * per_token.where(batch.mask, 0.0).sum(1)
