"""Linear chains in numpy, float64: the best legal path, and the probability of a span.

`transitions` is (K+1, K+1): [i, j] is the score of tag j after tag i, row K starts a sentence, column K
ends it, and an illegal step is -inf.
Sources: Viterbi (1967) for the path; Rabiner, "A tutorial on hidden Markov models" (1989) for the sums;
Culotta and McCallum, "Confidence estimation for information extraction" (2004) for the spans.
Axes: B sentences, T tokens, K tags, S spans.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ner.tags import ScoredSpan, Span, TagSet

MAX_CHAIN_SPREAD = 150.0  # nats; see `is_scalable`
Step = Callable[[np.ndarray], np.ndarray]


def viterbi(emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray) -> list[np.ndarray]:
    """The best path of each sentence under the transitions.

    emissions (B, T, K) float64, any finite value at padding; lengths (B,) int64, at least 1.
    Returns B arrays (length,) of tag numbers, int64.
    """
    inner, begin, end = transitions[:-1, :-1], transitions[-1, :-1], transitions[:-1, -1]
    # (T, K, B): sentences last, because numpy is fast along a long last axis
    scores = np.ascontiguousarray(emissions.transpose(1, 2, 0))
    n_steps, n_tags, n_sentences = scores.shape
    best = np.empty_like(scores)  # (T, K, B): score of the best path that ends in tag k at token t
    best[0] = begin[:, None] + scores[0]
    paths, table = np.empty((n_tags, n_tags, n_sentences)), inner[..., None]
    for t in range(1, n_steps):
        np.add(best[t - 1][:, None], table, out=paths)  # (K before, K, B)
        np.add(paths.max(axis=0), scores[t], out=best[t])
    last = lengths - 1
    # follow the path back from its last tag; at padding it stays there
    final = (best[last, :, np.arange(n_sentences)] + end).argmax(axis=1)  # (B,)
    path = np.empty((n_steps, n_sentences), dtype=np.int64)
    path[-1] = final
    for t in range(n_steps - 2, -1, -1):
        came_from = (best[t] + inner[:, path[t + 1]]).argmax(axis=0)
        path[t] = np.where(t < last, came_from, final)
    return [path[:length, row] for row, length in enumerate(lengths)]


def is_scalable(emissions: np.ndarray, transitions: np.ndarray, blank_run: int = 0) -> bool:
    """True if sums of exp over these chains stay accurate after division by their largest term.

    float64 underflows below e^-700 of the largest term.  Any tag is at most three legal steps from any other,
    so the score of a tag that matters is below the best by at most four spreads of one step.  With `Twins`,
    a run of at most `blank_run` blank tokens may stand between any two of these steps.
    """
    legal = transitions[np.isfinite(transitions)]
    lowest = emissions.min(axis=-1, where=np.isfinite(emissions), initial=np.inf)
    spread = (emissions.max(axis=-1) - lowest).max() + legal.max() - legal.min()
    return bool(spread * (1 + blank_run / 2) < MAX_CHAIN_SPREAD)


def longest_run(flags: np.ndarray) -> int:
    """The most neighbours in one row of (B, T) bool that are all True."""
    places = np.arange(1, flags.shape[1] + 1)
    return int((places - np.maximum.accumulate(np.where(flags, 0, places), axis=1)).max(initial=0))


def make_step(scores: np.ndarray, *, exact: bool) -> Step:
    """Returns the function (N, K) -> (N, K): log of the sum over i of exp(state_i + scores_ij).

    scores (K, K).  `exact`: True sums logarithms, for any chain; False multiplies matrices, if scalable.
    """
    if exact:
        return lambda state: np.logaddexp.reduce(state[..., None] + scores, axis=1)  # (N, K, 1) + (K, K)
    factors = np.exp(scores)

    def step(state: np.ndarray) -> np.ndarray:
        top = np.maximum(state.max(axis=1, keepdims=True), np.finfo(state.dtype).min)
        return np.log(np.exp(state - top) @ factors) + top

    return step


@np.errstate(divide="ignore")
def forward_sums(emissions: np.ndarray, transitions: np.ndarray, *, exact: bool) -> np.ndarray:
    """(B, T, K) float64: log of the sum over all paths up to tag k at token t, including its emission."""
    step = make_step(transitions[:-1, :-1], exact=exact)
    alpha = np.empty_like(emissions)
    alpha[:, 0] = transitions[-1, :-1] + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        alpha[:, t] = step(alpha[:, t - 1]) + emissions[:, t]
    return alpha


def backward_sums(
    emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray, *, exact: bool
) -> np.ndarray:
    """(B, T, K): as `forward_sums` of the mirrored sentences: over all paths from tag k at token t on."""
    places = np.maximum(lengths[:, None] - 1 - np.arange(emissions.shape[1]), 0)  # (B, T)
    mirror = np.arange(len(lengths))[:, None], places
    return forward_sums(emissions[mirror], transitions.T, exact=exact)[mirror]


@np.errstate(divide="ignore")
def span_log_probabilities(
    spans: Sequence[Span],
    rows: np.ndarray,
    emissions: np.ndarray,
    lengths: np.ndarray,
    transitions: np.ndarray,
    tag_set: TagSet,
    blank_run: int = 0,
) -> np.ndarray:
    """(S,) float64: log of the probability of each span, the sum over all legal paths with exactly this span.

    rows (S,) int64: the sentence of each span.  emissions (B, T, K) float64, any finite value at padding.
    A path has the span if a tag of its label begins at `start` and continues nothing, every step inside
    continues it, and the step after it does not.  That holds under any scheme.
    """
    exact = not is_scalable(emissions, transitions, blank_run)
    alpha = forward_sums(emissions, transitions, exact=exact)  # (B, T, K)
    beta = backward_sums(emissions, lengths, transitions, exact=exact)  # (B, T, K)
    whole = alpha[np.arange(len(lengths)), lengths - 1] + transitions[:-1, -1]  # (B, K)
    log_z = np.logaddexp.reduce(whole, axis=1)  # (B,)

    start, end = (np.array([getattr(span, name) for span in spans]) for name in ("start", "end"))
    labels = np.array([tag_set.labels.index(span.label) for span in spans])
    # (K+1, K+1): the steps at both edges of an entity, and the steps inside it
    edge = np.where(tag_set.continues, -np.inf, transitions)
    inside = np.where(tag_set.continues, transitions, -np.inf)
    cross_edge = make_step(edge[:-1, :-1], exact=exact)
    step_inside = make_step(inside[:-1, :-1], exact=exact)

    entered = np.where((start == 0)[:, None], edge[-1, :-1], cross_edge(alpha[rows, start - 1]))  # (S, K)
    has_label = tag_set.label_ids == labels[:, None]  # (S, K)
    state = np.where(has_label, entered + emissions[rows, start], -np.inf)  # (S, K): paths inside the span
    for t in range(1, (end - start).max()):
        longer = np.flatnonzero(start + t < end)  # spans with a token at start + t
        state[longer] = step_inside(state[longer]) + emissions[rows[longer], start[longer] + t]
    after = np.minimum(end, lengths[rows] - 1)
    left = cross_edge(state) + beta[rows, after]  # (S, K)
    score = np.where((end == lengths[rows])[:, None], state + edge[:-1, -1], left)
    return np.logaddexp.reduce(score, axis=1) - log_z[rows]


class Twins(NamedTuple):
    """A chain in which every tag of a label has a twin; its other fields are as those of a `TagSet`."""

    transitions: np.ndarray
    tag_ids: np.ndarray
    "(K + twins,) int64: the tag of the tag set that each tag of the chain stands for"
    labels: Sequence[str]
    label_ids: np.ndarray
    continues: np.ndarray

    def emissions(self, emissions: np.ndarray, blank: np.ndarray) -> np.ndarray:
        """(B, T, K + twins): a blank token has the twin where a visible one has the tag of a label itself.

        A run of blank tokens counts as one token with their mean scores: a model that saw few of them may be
        sure of an entity at each, and would draw the visible token behind them into the one before.
        """
        begins = blank & ~np.pad(blank, ((0, 0), (1, 0)))[:, :-1]
        run = np.cumsum(begins).reshape(blank.shape)
        run_lengths = np.bincount(run[blank], minlength=run.max() + 1)[run]
        emissions = emissions / np.where(blank, run_lengths, 1)[..., None]
        is_twin = np.arange(len(self.tag_ids)) >= emissions.shape[2]
        impossible = np.where(blank[..., None], ~is_twin & (self.label_ids >= 0), is_twin)
        return np.where(impossible, -np.inf, emissions[..., self.tag_ids])


def with_twins(transitions: np.ndarray, tag_set: TagSet) -> Twins:
    """The chain whose paths have no span that begins or ends with a blank token.

    A twin may only continue an entity and only be continued, so it stands between tokens of the entity.
    """
    n_tags = len(tag_set)
    tag_ids = np.append(np.arange(n_tags), np.flatnonzero(tag_set.label_ids >= 0))
    places = np.append(tag_ids, n_tags)  # the edge of the sentence stays last
    is_twin = (np.arange(len(places)) >= n_tags) & (places < n_tags)
    continues = tag_set.continues[np.ix_(places, places)]
    is_legal = continues | ~(is_twin[:, None] | is_twin)
    table = np.where(is_legal, transitions[np.ix_(places, places)], -np.inf)
    return Twins(table, tag_ids, tag_set.labels, tag_set.label_ids[tag_ids], continues)


def decode(
    emissions: np.ndarray,
    lengths: np.ndarray,
    transitions: np.ndarray,
    tag_set: TagSet,
    blank: np.ndarray | None = None,
) -> list[list[ScoredSpan]]:
    """Returns the spans of each sentence's best legal path, each with its probability.

    emissions (B, T, K) any float, any value at padding; lengths (B,) int64, at least 1.  With `blank`
    (B, T) bool, False at padding, a path is not legal if a span of it begins or ends with a blank token.
    """
    real = np.arange(emissions.shape[1]) < lengths[:, None]
    emissions = np.where(real[..., None], emissions, 0.0).astype(np.float64)
    if blank is None:
        return _decode(emissions, lengths, transitions, tag_set)
    found: list[list[ScoredSpan]] = [[] for _ in lengths]
    has_blank, chain = blank.any(axis=1), with_twins(transitions, tag_set)
    for rows in filter(len, (np.flatnonzero(~has_blank), np.flatnonzero(has_blank))):
        if has_blank[rows[0]]:
            scores = chain.emissions(emissions[rows], blank[rows])
            run = longest_run(blank[rows])
            answers = _decode(scores, lengths[rows], chain.transitions, tag_set, chain, run)
        else:
            answers = _decode(emissions[rows], lengths[rows], transitions, tag_set)
        for row, spans in zip(rows, answers, strict=True):
            found[row] = spans
    return found


def _decode(
    emissions: np.ndarray,
    lengths: np.ndarray,
    transitions: np.ndarray,
    tag_set: TagSet,
    twins: Twins | None = None,
    blank_run: int = 0,
) -> list[list[ScoredSpan]]:
    """As `decode`, for emissions that are zero at padding.

    With `twins`, the arrays are of its chain and have runs of at most `blank_run` blank tokens.
    """
    paths = viterbi(emissions, lengths, transitions)
    if twins:
        paths = [twins.tag_ids[path] for path in paths]
    found = [tag_set.spans(path.tolist()) for path in paths]
    flat = [span for spans in found for span in spans]
    if not flat:
        return found
    # sentences with spans
    kept, rows = np.unique([row for row, spans in enumerate(found) for _ in spans], return_inverse=True)
    chain = emissions[kept], lengths[kept], transitions, twins or tag_set
    log_p = span_log_probabilities(flat, rows, *chain, blank_run)
    probabilities = iter(np.exp(np.minimum(log_p, 0.0)).tolist())
    return [[ScoredSpan(*span, next(probabilities)) for span in spans] for spans in found]
