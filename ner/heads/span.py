"""Entities by their first and their last token: two classifiers and a pairing.

The start and end head of BERT-NER-Pytorch's `BertSpanForNer` (lonePatient, after the question answering of
Devlin et al. 2019, section 4.2): each token has the label of the entity that starts there, or none, and that
of the one that ends there, by a softmax over L + 1 classes each; the ends see the starts.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.heads.losses import cross_entropy, divergence
from ner.layers.dropout import Dropout
from ner.tags import ScoredSpan, TagSet, keep_apart, outermost


class SpanHead(nn.Module):
    """Starts from a linear layer; ends from the token and its start's probabilities, in training too.

    (The original shows gold starts to the ends in training.)  Class 0 is none, class i + 1 is label i.  The
    spans of a sentence do not overlap.  `criterion` is as in a softmax head.
    """

    schemes = ("BIO",)
    facts = ()
    is_likelihood = True
    learnable = staticmethod(outermost)
    criterion = staticmethod(cross_entropy)

    def __init__(self, width: int, tag_set: TagSet, *, dropout: float = 0.1):
        super().__init__()
        self.tag_set = tag_set
        n_classes = len(tag_set.labels) + 1
        self.dropout = Dropout(dropout)
        self.starts = nn.Linear(width, n_classes)
        self.inner = nn.Linear(width + n_classes, width)
        self.norm = nn.LayerNorm(width)
        self.ends = nn.Linear(width, n_classes)
        for layer in (self.starts, self.inner, self.ends):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def describe(self) -> str:
        """What the head chooses among, in words."""
        return f"{len(self.tag_set.labels)} labels"

    def scores(self, hidden: Tensor) -> Tensor:
        """hidden (B, T, H) float -> (B, T, 2, L + 1) float32, starts and ends, padding holds anything."""
        hidden = self.dropout(hidden)
        starts = self.starts(hidden).float()
        seen = torch.cat([hidden, starts.softmax(-1).to(hidden.dtype)], dim=-1)
        ends = self.ends(self.norm(torch.tanh(self.inner(seen)))).float()
        return torch.stack([starts, ends], dim=2)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """(B,): the criterion of starts and ends, summed; outside training the cross-entropy, in nats."""
        criterion = self.criterion if self.training else cross_entropy
        per_token = criterion(scores, self.gold_classes(batch)).sum(dim=2)
        return (per_token * batch.mask).sum(dim=1)

    def divergence(self, scores: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """(B,): KL(p, q) + KL(q, p) of the starts and of the ends, p and q being the softmax."""
        return (divergence(scores, other).sum(dim=2) * batch.mask).sum(dim=1)

    def gold_classes(self, batch: Batch) -> Tensor:
        """(B, T, 2) int64: the classes of the gold spans, which do not overlap; padding holds 0."""
        start, end, label = batch.spans.unbind(dim=2)
        classes = torch.where(end > start, label + 1, 0)
        none = torch.zeros_like(batch.mask, dtype=torch.int64)
        starts = none.scatter_add(1, start, classes)
        return torch.stack([starts, none.scatter_add(1, (end - 1).clamp_min(0), classes)], dim=2)

    def decode(self, scores: Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """Each start with the nearest end of its label; of those that overlap the likeliest stays.

        A span's score is the product of the probabilities of its start and of its end.
        """
        log_p = scores.detach().double().log_softmax(-1).cpu().numpy()
        lengths = batch.mask.sum(dim=1).tolist()
        return [self._spans(row[:length]) for row, length in zip(log_p, lengths, strict=True)]

    def _spans(self, log_p: np.ndarray) -> list[ScoredSpan]:
        """Of one sentence, log_p (T, 2, L + 1) float64, in their order."""
        classes = log_p.argmax(axis=2)
        found = []
        for start, last, k in pairs(classes):
            score = float(log_p[start, 0, k] + log_p[last, 1, k])
            found.append(ScoredSpan(start, last + 1, self.tag_set.labels[k - 1], score))
        kept = keep_apart(found, key=lambda span: -span.score)  # by log p, which tells sure ones apart
        return [span._replace(score=math.exp(span.score)) for span in kept]


def pairs(classes: np.ndarray) -> list[tuple[int, int, int]]:
    """classes (T, 2) of starts and ends -> (first, last token, class); a start without an end is none."""
    found = []
    for k in set(classes[:, 0].tolist()) - {0}:
        firsts, lasts = np.flatnonzero(classes[:, 0] == k), np.flatnonzero(classes[:, 1] == k)
        nearest = np.searchsorted(lasts, firsts)
        closed = nearest < len(lasts)
        found += [
            (f, e, k) for f, e in zip(firsts[closed].tolist(), lasts[nearest[closed]].tolist(), strict=True)
        ]
    return found
