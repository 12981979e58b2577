"""Linear chains in numpy, float64: the best legal path, and the probability of a span.

A softmax head is a chain whose legal transitions are free; a CRF head adds its learned transitions.
Both decode here.  `transitions` is (K+1, K+1): [i, j] is the score of tag j after tag i, row K begins a
sentence, column K ends it, and an illegal step is -inf.

Sources: Viterbi (1967) for the path; Rabiner, "A tutorial on hidden Markov models" (1989) for the
forward and backward sums; Culotta and McCallum, "Confidence estimation for information extraction"
(2004) for the probability of a span as a constrained sum over paths.
Axes: B sentences, T tokens, K tags, S spans.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ner.tags import ScoredSpan, Span, TagSet

MAX_SPREAD = 150.0  # nats; see `fits`
Step = Callable[[np.ndarray], np.ndarray]


def legal_transitions(tag_set: TagSet, transitions: np.ndarray | None = None) -> np.ndarray:
    """(K+1, K+1) float64: the scores given, or 0, where a step is legal, and -inf elsewhere."""
    scores = 0.0 if transitions is None else transitions.astype(np.float64)
    return np.where(tag_set.legal, scores, -np.inf)


def logsumexp(x: np.ndarray, axis: int) -> np.ndarray:
    """log of the sum of exp along an axis; -inf where all terms are."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)


def viterbi(emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray) -> list[np.ndarray]:
    """The best path of each sentence under the transitions.

    emissions (B, T, K) float64, padding holds anything finite; lengths (B,) at least 1.
    Returns B arrays (length,) of tag numbers.
    """
    inner, begin, end = transitions[:-1, :-1], transitions[-1, :-1], transitions[:-1, -1]
    scores = np.ascontiguousarray(emissions.transpose(1, 2, 0))  # sentences last: numpy's loops are long
    n_steps, n_tags, n_sentences = scores.shape
    best = np.empty_like(scores)
    best[0] = begin[:, None] + scores[0]
    paths, table = np.empty((n_tags, n_tags, n_sentences)), inner[..., None]
    for t in range(1, n_steps):
        np.add(best[t - 1][:, None], table, out=paths)
        np.add(paths.max(axis=0), scores[t], out=best[t])
    last = lengths - 1
    final = (best[last, :, np.arange(n_sentences)] + end).argmax(axis=1)
    path = np.empty((n_steps, n_sentences), dtype=np.int64)
    path[-1] = final
    for t in range(n_steps - 2, -1, -1):
        came_from = (best[t] + inner[:, path[t + 1]]).argmax(axis=0)
        path[t] = np.where(t < last, came_from, final)
    return [path[:length, row] for row, length in enumerate(lengths)]


def fits(emissions: np.ndarray, transitions: np.ndarray) -> bool:
    """Whether sums of exp that are scaled by their largest term lose nothing on these chains.

    What float64 loses is e^-700 of the largest.  A tag can be reached from any other in three legal steps, so
    no tag that matters lies further below the best than four times what one step may cost.
    """
    legal = transitions[np.isfinite(transitions)]
    spread = (emissions.max(axis=-1) - emissions.min(axis=-1)).max() + legal.max() - legal.min()
    return bool(spread < MAX_SPREAD)


def through(scores: np.ndarray, *, exact: bool) -> Step:
    """A step (N, K) -> (N, K): log of the sum over i of exp(state_i + scores_ij).

    A product of matrices, for chains that `fits`; `exact` keeps to logarithms, for any.
    """
    if exact:
        return lambda state: logsumexp(state[..., None] + scores, axis=1)
    factors = np.exp(scores)

    def step(state: np.ndarray) -> np.ndarray:
        top = np.maximum(state.max(axis=1, keepdims=True), np.finfo(state.dtype).min)
        return np.log(np.exp(state - top) @ factors) + top

    return step


@np.errstate(divide="ignore")
def forward_sums(emissions: np.ndarray, transitions: np.ndarray, *, exact: bool) -> np.ndarray:
    """(B, T, K): log of the sum over all paths that end in tag k at token t, its emission included."""
    step = through(transitions[:-1, :-1], exact=exact)
    alpha = np.empty_like(emissions)
    alpha[:, 0] = transitions[-1, :-1] + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        alpha[:, t] = step(alpha[:, t - 1]) + emissions[:, t]
    return alpha


@np.errstate(divide="ignore")
def backward_sums(
    emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray, *, exact: bool
) -> np.ndarray:
    """(B, T, K): log of the sum over all paths from tag k at token t on, its emission excluded.

    Padding holds nothing that may be read.
    """
    step, end = through(transitions[:-1, :-1].T, exact=exact), transitions[:-1, -1]
    beta = np.empty_like(emissions)
    beta[:, -1] = end
    for t in range(emissions.shape[1] - 2, -1, -1):
        onward = step(emissions[:, t + 1] + beta[:, t + 1])
        beta[:, t] = np.where((t + 1 < lengths)[:, None], onward, end)
    return beta


@np.errstate(divide="ignore")
def span_log_probabilities(
    spans: Sequence[Span],
    rows: np.ndarray,
    emissions: np.ndarray,
    lengths: np.ndarray,
    transitions: np.ndarray,
    tag_set: TagSet,
    *,
    exact: bool | None = None,
) -> np.ndarray:
    """(S,): log P of the legal paths that hold exactly this span, under any scheme.

    rows (S,): the sentence of each span.  emissions (B, T, K) float64, padding holds anything finite.
    A path holds the span if a tag of its label starts at `start` (continues nothing), every step inside
    continues, and the step out of it does not.
    """
    exact = not fits(emissions, transitions) if exact is None else exact
    alpha = forward_sums(emissions, transitions, exact=exact)
    beta = backward_sums(emissions, lengths, transitions, exact=exact)
    log_z = logsumexp(alpha[np.arange(len(lengths)), lengths - 1] + transitions[:-1, -1], axis=1)

    start, end = (np.array([getattr(span, name) for span in spans]) for name in ("start", "end"))
    labels = np.array([tag_set.labels.index(span.label) for span in spans])
    stop = np.where(tag_set.continues, -np.inf, transitions)  # an entity may begin or be over
    leave = through(stop[:-1, :-1], exact=exact)
    go_on = through(np.where(tag_set.continues, transitions, -np.inf)[:-1, :-1], exact=exact)

    came = np.where((start == 0)[:, None], stop[-1, :-1], leave(alpha[rows, start - 1]))
    of_label = tag_set.label_ids == labels[:, None]
    state = np.where(of_label, came + emissions[rows, start], -np.inf)
    for t in range(1, (end - start).max()):
        inside = np.flatnonzero(start + t < end)
        state[inside] = go_on(state[inside]) + emissions[rows[inside], start[inside] + t]
    after = np.minimum(end, lengths[rows] - 1)
    onward = leave(state) + emissions[rows, after] + beta[rows, after]
    score = np.where((end == lengths[rows])[:, None], state + stop[:-1, -1], onward)
    return logsumexp(score, axis=1) - log_z[rows]


def decode(
    emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray, tag_set: TagSet
) -> list[list[ScoredSpan]]:
    """The spans of the best legal path of each sentence, each with its probability.

    emissions (B, T, K) any float, padding holds anything; lengths (B,) at least 1.
    """
    real = np.arange(emissions.shape[1]) < lengths[:, None]
    emissions = np.where(real[..., None], emissions, 0.0).astype(np.float64)
    paths = viterbi(emissions, lengths, transitions)
    found = [tag_set.spans(path.tolist()) for path in paths]
    owners = [row for row, spans in enumerate(found) for _ in spans]
    if not owners:
        return [[] for _ in found]
    kept, rows = np.unique(owners, return_inverse=True)  # sentences with spans
    flat = [span for spans in found for span in spans]
    log_p = span_log_probabilities(flat, rows, emissions[kept], lengths[kept], transitions, tag_set)
    chances = iter(np.exp(np.minimum(log_p, 0.0)).tolist())
    return [[ScoredSpan(*span, next(chances)) for span in spans] for spans in found]
