"""A score for every span: entities that nest and overlap.

Efficient GlobalPointer (Su et al. 2022, arXiv 2208.03054), scaled as in its authors' code.  The score of
label c for the span from token i to its last token j is

    (R_i q_i)' (R_j k_j) / sqrt(d) + (a_c' [q_i; k_i] + b_c' [q_j; k_j] + bias_c) / 2

with q and k linear in the hidden states and R_i the rotation of token i (RoFormer, Su et al. 2021).  A span
with a score above 0 is an entity.
Only a band of the T x T spans is scored: spans of at most `max_span_len` tokens, the longest entity of train.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.heads.base import Head, HeadOptions, Hidden, initialise, trim
from ner.tags import ScoredSpan, Span, keep_apart, outermost

HEAD_SIZE = 64  # width of q and k, as in the paper's code


class GlobalPointerHead(Head):
    """Scores (B, T, L, C): [t, w, c] is the score of label c for the w + 1 tokens from t on.

    If no entities of train overlap, neither do the predicted ones: the highest score wins (Yu et al. 2020).
    """

    facts = ("max_span_len", "nested")
    is_likelihood = False

    def __init__(self, width: int, inventories: Mapping[str, Any], options: HeadOptions | None = None):
        super().__init__(width, inventories, options)
        inventory = self.inventories["spans"]
        self.max_span_len, self.nested = inventory.max_span_len, inventory.nested
        self.pair = nn.Linear(width, 2 * HEAD_SIZE)
        self.ends = nn.Linear(2 * HEAD_SIZE, 2 * len(self.tag_set.labels))
        initialise(self.pair)
        initialise(self.ends)

    def describe(self) -> str:
        kind = "spans may overlap, as in train" if self.nested else "spans do not overlap, as in train"
        return f"{len(self.tag_set.labels)} labels, spans of up to {self.max_span_len} tokens; {kind}"

    def learnable(self, name: str, value: Sequence[Span]) -> Sequence[Span]:
        """Spans inside the band; if train is flat, only the outermost of them."""
        short = [span for span in value if span.end - span.start <= self.max_span_len]
        return short if self.nested else outermost(short)

    def reason_missed(self, name: str, item: Span) -> str:
        is_long = item.end - item.start > self.max_span_len
        return f"are longer than any of train's ({self.max_span_len} tokens)" if is_long else "overlap others"

    def scores(self, hidden: Hidden, mask: Tensor) -> Tensor:
        """(B, T, L, C) float32, L at most T; spans that reach past the end hold anything."""
        pair = self.pair(self.dropout(hidden.tokens))
        length = min(self.max_span_len, pair.shape[1])
        with torch.autocast(pair.device.type, enabled=False):
            queries, keys = pair.float().chunk(2, dim=-1)  # (B, T, D) each
            at_start, at_end = (self.ends(pair.float()) / 2).chunk(2, dim=-1)  # (B, T, C) each
            at_end = F.pad(at_end, (0, 0, 0, length - 1)).unfold(1, length, 1).transpose(2, 3)  # (B, T, L, C)
            return band(queries, keys, length)[..., None] + at_start[:, :, None] + at_end

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Multi-label cross-entropy, summed over the labels; not a likelihood.

        For one label: log(1 + sum of e^-s over its gold spans) + log(1 + sum of e^s over all other spans).
        """
        n_sentences, n_tokens, length, n_labels = scores.shape
        scores = scores.float()
        start, end, label = batch.gold["spans"].unbind(dim=2)
        real = (end > start) & (end - start <= length)
        # (B, S): the cell of each gold span in a flat row of scores; one past the end if it has none
        cells = ((start * length + end - start - 1) * n_labels + label).where(real, scores[0].numel())
        gold = scores.new_zeros(n_sentences, n_tokens * length * n_labels + 1, dtype=torch.bool)
        gold = gold.scatter(1, cells, True)[:, :-1].view(scores.shape)
        others = scores.masked_fill(gold | ~inside(scores, batch.mask)[..., None], -math.inf).flatten(1, 2)
        flat = F.pad(scores.flatten(1), (0, 1))
        labels = torch.arange(n_labels, device=scores.device)
        of_label = (batch.gold["spans"][..., 2:] == labels) & real[..., None]
        found = torch.where(of_label, -flat.gather(1, cells)[..., None], -math.inf)
        return (log1p_sum_exp(found) + log1p_sum_exp(others)).sum(dim=1)

    def divergence(self, scores: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Between the sigmoids of the scores, summed over the spans."""
        apart = (scores.sigmoid() - other.sigmoid()) * (scores - other)
        return (apart * inside(scores, batch.mask)[..., None]).sum(dim=(1, 2, 3))

    def decode(self, scores: Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """Spans with a score above 0, each with the sigmoid of its score.

        A span with blank tokens at its ends stands for the span without them, with that span's own score.
        Only the sign of a score is trained; its sigmoid is not a calibrated probability.
        """
        above = (scores > 0) & inside(scores, batch.mask)[..., None]
        cells = above.nonzero()
        if batch.blank is not None:
            cells = self._trimmed(cells.tolist(), batch.blank).to(scores.device)
        values = scores[cells.unbind(1)].double()
        found: list[list[ScoredSpan]] = [[] for _ in scores]
        for (row, start, more, label), score in zip(cells.tolist(), values.tolist(), strict=True):
            found[row].append(ScoredSpan(start, start + more + 1, self.tag_set.labels[label], score))
        if not self.nested:  # by the score: many sigmoids are 1
            found = [keep_apart(spans, key=lambda span: -span.score) for spans in found]
        sure = ([span._replace(score=1 / (1 + math.exp(-span.score))) for span in spans] for spans in found)
        return [sorted(spans) for spans in sure]

    def _trimmed(self, cells: list[list[int]], blank: Tensor) -> Tensor:
        """(spans, 4) int64: the cells (row, start, length - 1, label) of the spans without blank ends."""
        places: list[list[tuple[int, int, int]]] = [[] for _ in blank]
        for row, start, more, label in cells:
            places[row].append((start, start + more + 1, label))
        kept = [
            (row, start, end - start - 1, label)
            for row, own in enumerate(places)
            for start, end, label in trim(own, blank[row])
        ]
        return torch.tensor(kept, dtype=torch.int64).view(-1, 4)


def band(queries: Tensor, keys: Tensor, length: int) -> Tensor:
    """Products of each token with itself and the `length` - 1 tokens after it.

    queries, keys  (B, T, D) float32
    returns        (B, T, L) float32, (R_t q_t)' (R_{t+w} k_{t+w}) / sqrt(D) at [t, w], L = `length`
    Computed in blocks of L queries, each with the keys of its own and of the next block.  A product depends
    only on the distance of its two tokens, so positions are counted from the first token of the block.
    """
    n_sentences, n_tokens, width = queries.shape
    n_blocks = math.ceil(n_tokens / length)
    more = n_blocks * length - n_tokens
    queries = F.pad(queries, (0, 0, 0, more)).view(n_sentences, n_blocks, length, width)  # (B, blocks, L, D)
    # (B, blocks, D, 2L - 1)
    keys = F.pad(keys, (0, 0, 0, more + length - 1)).unfold(1, 2 * length - 1, length)
    products = rotated(queries) @ rotated(keys.transpose(2, 3)).transpose(2, 3)  # (B, blocks, L, 2L - 1)
    products = products / math.sqrt(width)
    # Row r needs columns r to r + L - 1.  Read again in rows of 2L, every row is shifted by one more column,
    # so that they are the first L: (B, blocks, L, 2L).
    products = F.pad(products.flatten(2), (0, length)).unflatten(2, (length, 2 * length))
    return products[..., :length].flatten(1, 2)[:, :n_tokens]  # (B, T, L)


def rotated(vectors: Tensor) -> Tensor:
    """(..., T, D) -> the same shape: each pair of numbers rotated by t / 10000^(2i / D) (Su et al. 2021)."""
    n_tokens, width = vectors.shape[-2:]
    rates = 10000.0 ** (-torch.arange(0, width, 2, device=vectors.device) / width)
    angles = torch.arange(n_tokens, device=vectors.device)[:, None] * rates
    x, y = vectors[..., ::2], vectors[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


def inside(scores: Tensor, mask: Tensor) -> Tensor:
    """(B, T, L) bool: True if the span of a band of scores ends inside its sentence."""
    n_tokens, length = scores.shape[1:3]
    lasts = torch.arange(n_tokens, device=mask.device)[:, None] + torch.arange(length, device=mask.device)
    return lasts < mask.sum(dim=1)[:, None, None]


def log1p_sum_exp(scores: Tensor) -> Tensor:
    """(B, N, C) -> (B, C): log(1 + sum of e^s over N); -inf adds nothing."""
    return F.pad(scores, (0, 0, 1, 0)).logsumexp(dim=1)
