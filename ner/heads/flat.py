"""What the softmax and the CRF head share, and the softmax head."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.heads import viterbi
from ner.heads.base import HeadOptions, Hidden, TokenClassifier, initialise
from ner.tags import SCHEMES, ScoredSpan, TagSet


class FlatHead(TokenClassifier):
    """One score for each tag of each token; the spans of a sentence do not overlap."""

    schemes, default_scheme = SCHEMES, "BIOES"
    scores_tags = True

    def __init__(self, width: int, inventories: Mapping[str, Any], options: HeadOptions | None = None):
        super().__init__(width, inventories, options)
        self.classifier = nn.Linear(width, len(self.tag_set))
        initialise(self.classifier)
        self.register_buffer("span_tags", torch.from_numpy(self.tag_set.span_tags), persistent=False)

    def read_as(self, tag_set: TagSet) -> None:
        """Gives the same tags another scheme."""
        self.inventories["spans"] = replace(self.inventories["spans"], tag_set=tag_set)
        self.span_tags = torch.from_numpy(tag_set.span_tags).to(self.span_tags.device)

    def describe(self) -> str:
        return f"{len(self.tag_set)} tags ({self.tag_set.scheme})"

    def scores(self, hidden: Hidden, mask: Tensor) -> Tensor:
        """(B, T, K) float32; padding holds anything."""
        return self.classifier(self.dropout(hidden.tokens)).float()

    def transition_table(self) -> np.ndarray:
        """(K+1, K+1) float: score of tag j after tag i; row and column K are the edges."""
        return np.zeros(self.tag_set.legal.shape)

    def decode(self, scores: Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """The best legal tagging of each sentence as spans, each with its marginal probability.

        A tagging is legal if it follows the scheme and no span begins or ends with a blank token.
        """
        transitions = np.where(self.tag_set.legal, self.transition_table(), -np.inf)
        lengths = batch.mask.sum(dim=1).cpu().numpy()
        blank = None if batch.blank is None else batch.blank.numpy()
        emissions = scores.detach().float().cpu().numpy()
        return viterbi.decode(emissions, lengths, transitions, self.tag_set, blank)

    def best_tags(self, scores: Tensor, batch: Batch) -> list[list[int]]:
        """The best tag numbers of each sentence, legal or not."""
        lengths, emissions = batch.mask.sum(dim=1).cpu().numpy(), scores.detach().double().cpu().numpy()
        return [path.tolist() for path in viterbi.viterbi(emissions, lengths, self.transition_table())]

    def gold_classes(self, batch: Batch) -> Tensor:
        """(B, T) int64: tag numbers of the gold spans; padding holds the number of `O`.

        Each span adds its label at its start and subtracts it at its end; the running sum covers tokens.
        """
        start, end, label = batch.gold["spans"].unbind(dim=2)
        n_sentences, n_tokens = batch.mask.shape
        label = torch.where(end > start, label + 1, 0)
        steps = label.new_zeros(n_sentences, n_tokens + 1)
        covered = steps.scatter_add(1, start, label).scatter_add(1, end, -label).cumsum(1)[:, :-1]
        real = (end > start).long()
        first = steps.scatter_add(1, start, real)[:, :-1]
        last = steps.scatter_add(1, (end - 1).clamp_min(0), real)[:, :-1]
        if self.tag_set.scheme == "IOB1":  # B- only separates two neighbours of one label
            before = nn.functional.pad(covered, (1, -1))
            first = first * (before == covered)
        return self.span_tags[covered, first.clamp_max(1), last.clamp_max(1)]


class SoftmaxHead(FlatHead):
    """The token classifier of the BERT paper: each token is classified alone; only decoding knows the scheme.

    Its tensors are those of transformers' token classifiers.
    """

    def probabilities(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        return (scores.detach() / temperature).softmax(-1)

    def soft_loss(self, scores: Tensor, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        per_token = -(batch.gold["soft_tags"] * (scores / temperature).log_softmax(-1)).sum(-1)
        return temperature**2 * per_token.where(batch.mask, 0.0).sum(1)
