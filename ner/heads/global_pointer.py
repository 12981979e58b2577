"""Every span its own score: entities that nest and overlap.

Efficient GlobalPointer (Su et al. 2022, arXiv 2208.03054), scaled as in its authors' code: the score of label
c for a span from token i to its last token j is

    (R_i q_i)' (R_j k_j) / sqrt(d) + (a_c' [q_i; k_i] + b_c' [q_j; k_j] + bias_c) / 2

where q and k are linear in the hidden states and R_i is the rotation of token i (RoFormer, Su et al. 2021).
A score above 0 makes an entity.  (The biaffine scorer of Yu et al. 2020 has no R, a matrix between q and k
for each label, and a softmax over the labels of each span.)

Only a band of the T x T spans is scored, those of at most `max_span_len` tokens, the most that train has.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.layers.dropout import Dropout
from ner.tags import ScoredSpan, Span, TagSet, keep_apart, outermost

HEAD_SIZE = 64  # of q and k, as in the paper's code


class GlobalPointerHead(nn.Module):
    """Scores (B, T, L, C): [t, w, c] is of label c for the w + 1 tokens from t on.

    `nested` says whether entities of train overlap; where they do not, the predicted do not either: of those
    that overlap the one with the highest score is kept first, as Yu et al. 2020 decode flat entities.
    """

    schemes = ("BIO",)
    facts = ("max_span_len", "nested")
    is_likelihood = False

    def __init__(
        self,
        width: int,
        tag_set: TagSet,
        *,
        dropout: float = 0.1,
        max_span_len: int = 32,
        nested: bool = False,
    ):
        super().__init__()
        self.tag_set = tag_set
        self.max_span_len, self.nested = max_span_len, nested
        self.dropout = Dropout(dropout)
        self.pair = nn.Linear(width, 2 * HEAD_SIZE)
        self.ends = nn.Linear(2 * HEAD_SIZE, 2 * len(tag_set.labels))
        for layer in (self.pair, self.ends):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def describe(self) -> str:
        """What the head chooses among, in words."""
        kind = "spans may overlap, as in train" if self.nested else "spans do not overlap, as in train"
        return f"{len(self.tag_set.labels)} labels, spans of up to {self.max_span_len} tokens; {kind}"

    def learnable(self, spans: Sequence[Span]) -> Sequence[Span]:
        """The gold that the head can find: no span longer than the band, and none inside another if flat."""
        short = [span for span in spans if span.end - span.start <= self.max_span_len]
        return short if self.nested else outermost(short)

    def scores(self, hidden: Tensor) -> Tensor:
        """hidden (B, T, H) float -> (B, T, L, C) float32, L at most T; spans beyond the end hold anything."""
        pair = self.pair(self.dropout(hidden))
        length = min(self.max_span_len, hidden.shape[1])
        with torch.autocast(hidden.device.type, enabled=False):
            queries, keys = pair.float().chunk(2, dim=-1)
            at_start, at_end = (self.ends(pair.float()) / 2).chunk(2, dim=-1)
            at_end = F.pad(at_end, (0, 0, 0, length - 1)).unfold(1, length, 1).transpose(2, 3)
            return band(queries, keys, length)[..., None] + at_start[:, :, None] + at_end

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """(B,): the multi-label cross-entropy, summed over the labels, nats or like them.

        Of a label log(1 + sum of e^-s over its gold) + log(1 + sum of e^s over all other spans).
        """
        n_sentences, n_tokens, length, n_labels = scores.shape
        scores = scores.float()
        cells, real = self._gold(scores, batch)
        gold = scores.new_zeros(n_sentences, n_tokens * length * n_labels + 1, dtype=torch.bool)
        gold = gold.scatter(1, cells, True)[:, :-1].view(scores.shape)
        others = scores.masked_fill(gold | ~inside(scores, batch.mask)[..., None], -math.inf).flatten(1, 2)
        flat = F.pad(scores.flatten(1), (0, 1))
        labels = torch.arange(n_labels, device=scores.device)
        of_label = (batch.spans[..., 2:] == labels) & real[..., None]
        found = torch.where(of_label, -flat.gather(1, cells)[..., None], -math.inf)
        return (log1p_sum_exp(found) + log1p_sum_exp(others)).sum(dim=1)

    def _gold(self, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, S) int64, the place of each gold span in a row of scores; and bool, whether it has one.

        Padding and spans longer than the band have none: the place is one past the end.
        """
        _, n_tokens, length, n_labels = scores.shape
        start, end, label = batch.spans.unbind(dim=2)
        real = (end > start) & (end - start <= length)
        place = (start * length + end - start - 1) * n_labels + label
        return place.where(real, n_tokens * length * n_labels), real

    def divergence(self, scores: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """(B,): KL(p, q) + KL(q, p), summed over the spans, p and q being the sigmoid of the scores."""
        apart = (scores.sigmoid() - other.sigmoid()) * (scores - other)
        return (apart * inside(scores, batch.mask)[..., None]).sum(dim=(1, 2, 3))

    def decode(self, scores: Tensor, batch: Batch) -> list[list[ScoredSpan]]:
        """The spans whose score is above 0, each with its sigmoid; of what overlaps the best if not `nested`.

        The loss trains the sign of a score; how sure its sigmoid is, nothing makes true.
        """
        above = (scores > 0) & inside(scores, batch.mask)[..., None]
        values = scores[above].double()
        found: list[list[ScoredSpan]] = [[] for _ in scores]
        for (row, start, more, label), score in zip(above.nonzero().tolist(), values.tolist(), strict=True):
            found[row].append(ScoredSpan(start, start + more + 1, self.tag_set.labels[label], score))
        if not self.nested:  # by the scores, many of whose sigmoids are 1
            found = [keep_apart(spans, key=lambda span: -span.score) for spans in found]
        return [
            sorted(span._replace(score=1 / (1 + math.exp(-span.score))) for span in spans) for spans in found
        ]


def band(queries: Tensor, keys: Tensor, length: int) -> Tensor:
    """(B, T, D) twice, float32 -> (B, T, L): (R_t q_t)' (R_{t+w} k_{t+w}) / sqrt(D) at [t, w]; L = `length`.

    By blocks of L tokens, each with the keys of itself and of the next.  A product depends on the distance
    of its two tokens alone, so they are counted from the first of the block.
    """
    n_sentences, n_tokens, width = queries.shape
    n_blocks = math.ceil(n_tokens / length)
    more = n_blocks * length - n_tokens
    queries = F.pad(queries, (0, 0, 0, more)).view(n_sentences, n_blocks, length, width)
    keys = F.pad(keys, (0, 0, 0, more + length - 1)).unfold(1, 2 * length - 1, length).transpose(2, 3)
    products = rotated(queries) @ rotated(keys).transpose(2, 3) / math.sqrt(width)  # (B, blocks, L, 2L - 1)
    # row r of a block needs the columns r to r + L - 1: in rows of 2L they are the first L
    products = F.pad(products.flatten(2), (0, length)).unflatten(2, (length, 2 * length))
    return products[..., :length].flatten(1, 2)[:, :n_tokens]


def rotated(vectors: Tensor) -> Tensor:
    """(..., T, D) -> the same, each pair of neighbours turned by t / 10000^(2i / D) (Su et al. 2021)."""
    n_tokens, width = vectors.shape[-2:]
    rates = 10000.0 ** (-torch.arange(0, width, 2, device=vectors.device) / width)
    angles = torch.arange(n_tokens, device=vectors.device)[:, None] * rates
    x, y = vectors[..., ::2], vectors[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2)


def inside(scores: Tensor, mask: Tensor) -> Tensor:
    """(B, T, L) bool: which spans of a band of scores end within their sentence."""
    n_tokens, length = scores.shape[1:3]
    lasts = torch.arange(n_tokens, device=mask.device)[:, None] + torch.arange(length, device=mask.device)
    return lasts < mask.sum(dim=1)[:, None, None]


def log1p_sum_exp(scores: Tensor) -> Tensor:
    """(B, N, C) -> (B, C): log(1 + sum of e^s over N), -inf being no score at all."""
    return F.pad(scores, (0, 0, 1, 0)).logsumexp(dim=1)
