"""Statistics of F1: confidence intervals over sentences, and tests of two systems on the same sentences.

All functions work on `counts`, one row a sentence: correct, predicted and gold entities.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ner.tags import Span

CHUNK = 4_000_000  # random numbers drawn at a time


def count(gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> np.ndarray:
    """(S, 3) int64: correct, predicted and gold entities of each sentence."""
    rows = [(set(truth), set(guess)) for truth, guess in zip(gold, predicted, strict=True)]
    counts = [(len(truth & guess), len(guess), len(truth)) for truth, guess in rows]
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """(..., 3) counts -> (..., 3) fractions.  A fraction whose denominator is 0 is 0."""
    correct, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    denominators = np.stack([predicted, gold, (predicted + gold) / 2], axis=-1)
    return np.divide(
        correct[..., None], denominators, out=np.zeros_like(denominators), where=denominators > 0
    )


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and standard deviation with n - 1 in the denominator (None for a single value)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def draws(below: int, n_columns: int, n_rows: int, seed: int, dtype: type = np.int64) -> Iterator[np.ndarray]:
    """Yields random numbers from 0 up to `below`, in chunks (rows, n_columns) of at most CHUNK numbers."""
    random, size = np.random.default_rng(seed), max(1, CHUNK // max(1, n_columns))
    for first in range(0, n_rows, size):
        yield random.integers(below, size=(min(size, n_rows - first), n_columns), dtype=dtype)


def bootstrap(
    runs: Sequence[np.ndarray], *, n_resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of F1 over sentences (Koehn 2004, https://aclanthology.org/W04-3250/).

    `runs` are the counts of R runs on the same sentences.  Each resample draws the same sentences for all
    runs and takes their mean F1.  The interval shows how F1 varies with the sentences, not with the seed.
    """
    counts = np.stack(runs, axis=1).astype(np.float64)  # (S, R, 3)
    n_sentences, n_runs, _ = counts.shape
    f1s = []
    for rows in draws(n_sentences, n_sentences, n_resamples, seed):  # sentences, with replacement
        cells = (rows + n_sentences * np.arange(len(rows))[:, None]).ravel()
        # (rows, S): how often each sentence was drawn
        weights = np.bincount(cells, minlength=len(rows) * n_sentences).reshape(len(rows), n_sentences)
        totals = (weights.astype(np.float64) @ counts.reshape(n_sentences, -1)).reshape(-1, n_runs, 3)
        f1s.append(precision_recall_f1(totals)[..., 2].mean(axis=1))
    low, high = np.quantile(np.concatenate(f1s), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def swapped_differences(ours: np.ndarray, theirs: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """(N,): F1 of ours minus F1 of theirs, with the answers to a sentence swapped if `swaps` (N, S)."""
    moved = swaps.astype(np.float64) @ (theirs - ours).astype(np.float64)
    first, second = ours.sum(axis=0) + moved, theirs.sum(axis=0) - moved
    return precision_recall_f1(first)[..., 2] - precision_recall_f1(second)[..., 2]


def randomisation(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, n_shuffles: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p of the difference in F1 by approximate randomisation.

    Each shuffle swaps the two systems' answers to a sentence with probability 1/2.  p is the share of
    shuffles whose difference is at least the observed one, which counts as a shuffle.  A system of several
    runs answers with the mean of their counts.  (Noreen 1989; Yeh 2000, https://aclanthology.org/C00-2137/)
    """
    first, second = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    no_swaps = np.zeros((1, len(first)), dtype=bool)
    observed = abs(swapped_differences(first, second, no_swaps)[0]) - 1e-12  # tolerates rounding
    n_as_large = 0
    for swaps in draws(2, len(first), n_shuffles, seed, np.int8):
        n_as_large += int((abs(swapped_differences(first, second, swaps)) >= observed).sum())
    return (n_as_large + 1) / (n_shuffles + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Corrects each p for the number of comparisons by Holm's (1979) method; at most 1."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted
