"""The token classifier of the BERT paper: each token is classified alone; only decoding knows the scheme."""

from torch import Tensor

from ner.data.batch import Batch
from ner.heads.base import ClassifierOptions
from ner.heads.flat import FlatHead
from ner.heads.losses import cross_entropy


class SoftmaxHead(FlatHead):
    """Scores are log-odds of tags.  Its tensors are those of transformers' token classifiers."""

    Options = ClassifierOptions

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Sum over the tokens of the loss that the options name; outside training, of the cross-entropy."""
        criterion = self.options.criterion if self.training else cross_entropy
        per_token = criterion(scores, self.gold_tags(batch))
        return (per_token * batch.mask).sum(dim=1)

    def probabilities(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        return (scores.detach() / temperature).softmax(-1)

    def soft_loss(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        per_token = -(batch.gold["soft_tags"] * (scores / temperature).log_softmax(-1)).sum(-1)
        return temperature**2 * per_token.where(batch.mask, 0.0).sum(1)
