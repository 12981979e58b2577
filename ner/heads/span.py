"""Entities by their first and their last token: two classifiers and a pairing.

The head of BERT-NER-Pytorch's `BertSpanForNer` (lonePatient, after Devlin et al. 2019, section 4.2): each
token gets two labels, of the entity that starts there and of the entity that ends there, or none.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.heads.base import ClassifierOptions, Hidden, TokenClassifier, initialise, trim
from ner.tags import ScoredSpan, keep_apart


class SpanHead(TokenClassifier):
    """Starts from a linear layer; ends from the token and its start's probabilities, in training too.

    (The original shows gold starts to the ends in training.)  Class 0 is none, class i + 1 is label i.
    """

    def __init__(self, width: int, inventories: Mapping[str, Any], options: ClassifierOptions | None = None):
        super().__init__(width, inventories, options)
        n_classes = len(self.tag_set.labels) + 1
        self.starts = nn.Linear(width, n_classes)
        self.inner = nn.Linear(width + n_classes, width)
        self.norm = nn.LayerNorm(width)
        self.ends = nn.Linear(width, n_classes)
        for layer in (self.starts, self.inner, self.ends):
            initialise(layer)

    def describe(self) -> str:
        return f"{len(self.tag_set.labels)} labels"

    def scores(self, hidden: Hidden, mask: Tensor) -> Tensor:
        """(B, T, 2, L + 1) float32, starts and ends; padding holds anything."""
        states = self.dropout(hidden.tokens)
        starts = self.starts(states).float()
        seen = torch.cat([states, starts.softmax(-1).to(states.dtype)], dim=-1)
        ends = self.ends(self.norm(torch.tanh(self.inner(seen)))).float()
        return torch.stack([starts, ends], dim=2)

    def gold_classes(self, batch: Batch) -> Tensor:
        """(B, T, 2) int64: classes of the gold spans, which do not overlap; padding holds 0."""
        start, end, label = batch.gold["spans"].unbind(dim=2)
        classes = torch.where(end > start, label + 1, 0)
        none = torch.zeros_like(batch.mask, dtype=torch.int64)
        starts = none.scatter_add(1, start, classes)
        return torch.stack([starts, none.scatter_add(1, (end - 1).clamp_min(0), classes)], dim=2)

    def decode(self, scores: Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """Each start with the nearest end of its label, scored by the product of their probabilities.

        Blank tokens at the ends of a span are cut off before.  Among overlapping spans the most probable is
        kept.
        """
        answers = []
        table = scores.detach().double().log_softmax(-1).cpu().numpy()
        for row, length in enumerate(batch.mask.sum(dim=1).tolist()):
            found, log_p = [], table[row, :length]  # (T, 2, L + 1)
            places = [(start, last + 1, k) for start, last, k in pairs(log_p.argmax(axis=2))]
            for start, end, k in places if batch.blank is None else trim(places, batch.blank[row]):
                score = float(log_p[start, 0, k] + log_p[end - 1, 1, k])
                found.append(ScoredSpan(start, end, self.tag_set.labels[k - 1], score))
            # by log p: the probabilities of sure spans are all 1
            kept = keep_apart(found, key=lambda span: -span.score)
            answers.append([span._replace(score=math.exp(span.score)) for span in kept])
        return answers


def pairs(classes: np.ndarray) -> list[tuple[int, int, int]]:
    """classes (T, 2) of starts and ends -> (first token, last token, class) of each start that has an end."""
    nearest: dict[int, int] = {}  # class -> the token nearest to the right that ends it
    found = []
    for t, (start, end) in zip(reversed(range(len(classes))), classes[::-1].tolist(), strict=True):
        nearest[end] = t
        if start and start in nearest:
            found.append((t, nearest[start], start))
    return found
