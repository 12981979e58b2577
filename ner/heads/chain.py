"""Linear chains in numpy, float64: the best legal path, and the probability of a span.

A softmax head is a chain whose legal transitions are free; a CRF head adds its learned transitions.
Both decode here.  `transitions` is (K+1, K+1): [i, j] is the score of tag j after tag i, row K begins a
sentence, column K ends it, and an illegal step is -inf.

Sources: Viterbi (1967) for the path; Rabiner, "A tutorial on hidden Markov models" (1989) for the
forward and backward sums; Culotta and McCallum, "Confidence estimation for information extraction"
(2004) for the probability of a span as a constrained sum over paths.
"""

import numpy as np

from ner.tags import ScoredSpan, Span, TagSet


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
    n_sentences, n_steps, _ = emissions.shape
    best = np.empty_like(emissions)
    came_from = np.zeros(emissions.shape, dtype=np.int16)
    best[:, 0] = begin + emissions[:, 0]
    for t in range(1, n_steps):
        paths = best[:, t - 1, :, None] + inner
        came_from[:, t] = paths.argmax(axis=1)
        best[:, t] = paths.max(axis=1) + emissions[:, t]
    rows = np.arange(n_sentences)
    tag = (best[rows, lengths - 1] + end).argmax(axis=1)
    path = np.empty((n_sentences, n_steps), dtype=np.int64)
    for t in range(n_steps - 1, -1, -1):
        tag = np.where(t + 1 < lengths, came_from[rows, min(t + 1, n_steps - 1), tag], tag)
        path[:, t] = tag
    return [path[row, :length] for row, length in enumerate(lengths)]


def forward_sums(emissions: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """(B, T, K): log of the sum over all paths that end in tag k at token t, its emission included."""
    alpha = np.empty_like(emissions)
    alpha[:, 0] = transitions[-1, :-1] + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        alpha[:, t] = logsumexp(alpha[:, t - 1, :, None] + transitions[:-1, :-1], axis=1) + emissions[:, t]
    return alpha


def backward_sums(emissions: np.ndarray, lengths: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """(B, T, K): log of the sum over all paths from tag k at token t on, its emission excluded.

    Padding holds nothing that may be read.
    """
    end = transitions[:-1, -1]
    beta = np.empty_like(emissions)
    beta[:, -1] = end
    for t in range(emissions.shape[1] - 2, -1, -1):
        onward = transitions[:-1, :-1] + (emissions[:, t + 1] + beta[:, t + 1])[:, None, :]
        beta[:, t] = np.where((t + 1 < lengths)[:, None], logsumexp(onward, axis=2), end)
    return beta


def span_log_probability(
    span: Span,
    alpha: np.ndarray,
    beta: np.ndarray,
    emissions: np.ndarray,
    transitions: np.ndarray,
    tag_set: TagSet,
) -> float:
    """log P of the legal paths that hold exactly this span, under any scheme, for one sentence.

    alpha, beta, emissions (T, K) without padding.  A path holds the span if a tag of its label starts
    at `start` (continues nothing), every step inside continues, and the step out of it does not.
    """
    n_tokens = len(emissions)
    continues = tag_set.continues
    stop = np.where(continues, -np.inf, transitions)  # steps at which an entity may begin or be over
    inside = np.where(continues, transitions, -np.inf)[:-1, :-1]
    of_label = tag_set.label_ids == tag_set.labels.index(span.label)
    if span.start == 0:
        score = stop[-1, :-1]
    else:
        score = logsumexp(alpha[span.start - 1][:, None] + stop[:-1, :-1], axis=0)
    score = np.where(of_label, score + emissions[span.start], -np.inf)
    for t in range(span.start + 1, span.end):
        score = logsumexp(score[:, None] + inside, axis=0) + emissions[t]
    if span.end == n_tokens:
        score = score + stop[:-1, -1]
    else:
        score = score[:, None] + stop[:-1, :-1] + (emissions[span.end] + beta[span.end])
    log_z = logsumexp(alpha[-1] + transitions[:-1, -1], axis=0)
    return float(logsumexp(score.ravel(), axis=0) - log_z)


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
    with_spans = [row for row, spans in enumerate(found) if spans]
    result: list[list[ScoredSpan]] = [[] for _ in found]
    if not with_spans:
        return result
    emissions, lengths = emissions[with_spans], lengths[with_spans]
    alpha = forward_sums(emissions, transitions)
    beta = backward_sums(emissions, lengths, transitions)
    for i, row in enumerate(with_spans):
        real = slice(0, lengths[i])
        for span in found[row]:
            log_p = span_log_probability(
                span, alpha[i, real], beta[i, real], emissions[i, real], transitions, tag_set
            )
            result[row].append(ScoredSpan(*span, float(np.exp(min(log_p, 0.0)))))
    return result
