"""What both flat heads share: gold spans to tag numbers on the device, and decoding to spans."""

import numpy as np
import torch
from torch import nn

from ner.data.batch import Batch
from ner.heads import viterbi
from ner.heads.losses import divergence
from ner.layers.dropout import Dropout
from ner.tags import SCHEMES, ScoredSpan, TagSet, outermost


class FlatHead(nn.Module):
    """One score for each tag of each token; the spans of a sentence do not overlap.

    A subclass says what a sentence's loss is and what a step from tag to tag costs.
    """

    schemes = SCHEMES
    facts = ()
    is_likelihood = True
    learnable = staticmethod(outermost)

    def __init__(self, width: int, tag_set: TagSet, *, dropout: float = 0.1):
        super().__init__()
        self.tag_set = tag_set
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(width, len(tag_set))
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.register_buffer("span_tags", torch.from_numpy(tag_set.span_tags), persistent=False)

    def describe(self) -> str:
        """What the head chooses among, in words."""
        return f"{len(self.tag_set)} tags ({self.tag_set.scheme})"

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden (B, T, H) float -> scores (B, T, K) float32, padding holds anything."""
        return self.classifier(self.dropout(hidden)).float()

    def loss(self, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,) float32, nats a sentence."""
        raise NotImplementedError

    def divergence(self, scores: torch.Tensor, other: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(B,): KL(p, q) + KL(q, p), summed over the tokens, of the softmax of the scores, a CRF's too."""
        return (divergence(scores, other) * batch.mask).sum(dim=1)

    def probabilities(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        """(B, T, K): of each tag at each token, the scores divided by the temperature; without a gradient."""
        raise NotImplementedError

    def soft_loss(self, scores: torch.Tensor, batch: Batch, *, temperature: float = 1.0) -> torch.Tensor:
        """(B,): the cross-entropy of the teacher's probabilities `batch.soft`, in nats.

        Times the temperature squared, which keeps the gradient's size (Hinton, Vinyals and Dean 2015).
        """
        raise NotImplementedError

    def transitions(self) -> np.ndarray | None:
        """(K+1, K+1) float: the score of tag j after tag i, edges in the last row and column; None: free."""
        return None

    def decode(self, scores: torch.Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """The best legal tagging of each sentence as spans, each with its marginal probability."""
        transitions = viterbi.legal_transitions(self.tag_set, self.transitions())
        lengths = batch.mask.sum(dim=1).cpu().numpy()
        return viterbi.decode(scores.detach().float().cpu().numpy(), lengths, transitions, self.tag_set)

    def gold_tags(self, batch: Batch) -> torch.Tensor:
        """(B, T) int64 tag numbers of the gold spans; padding holds `O`'s number.

        Each span adds its label at its start and takes it away at its end; the running sum is the
        label that covers a token (0: none).
        """
        start, end, label = batch.spans.unbind(dim=2)
        n_sentences, n_tokens = batch.mask.shape
        label = torch.where(end > start, label + 1, 0)
        steps = label.new_zeros(n_sentences, n_tokens + 1)
        covered = steps.scatter_add(1, start, label).scatter_add(1, end, -label).cumsum(1)[:, :-1]
        real = (end > start).long()
        first = steps.scatter_add(1, start, real)[:, :-1]
        last = steps.scatter_add(1, (end - 1).clamp_min(0), real)[:, :-1]
        if self.tag_set.scheme == "IOB1":  # B- only parts two neighbours of one label
            before = nn.functional.pad(covered, (1, -1))
            first = first * (before == covered)
        return self.span_tags[covered, first.clamp_max(1), last.clamp_max(1)]
