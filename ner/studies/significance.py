"""How far a score can be trusted: intervals over sentences, and tests of two systems on the same ones.

All work on `counts`, one row a sentence: entities found right, predicted, and gold.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ner.tags import Span

CHUNK = 4_000_000  # random numbers drawn at a time


def count(gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> np.ndarray:
    """Correct, predicted and gold entities of each sentence: (S, 3), int64."""
    rows = [(set(truth), set(guess)) for truth, guess in zip(gold, predicted, strict=True)]
    counts = [(len(truth & guess), len(guess), len(truth)) for truth, guess in rows]
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """(..., 3) counts to (..., 3) fractions; 0 where nothing is predicted, gold, or either."""
    correct, predicted, gold = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    below = np.stack([predicted, gold, (predicted + gold) / 2], axis=-1)
    return np.divide(correct[..., None], below, out=np.zeros_like(below), where=below > 0)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation with n - 1 in the denominator; nan for a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), deviation


def resamples(n_sentences: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Sentence numbers drawn with replacement, one resample a row, in chunks of (rows, n_sentences)."""
    random = np.random.default_rng(seed)
    for n_rows in _rows_at_a_time(n_sentences, n_resamples):
        yield random.integers(n_sentences, size=(n_rows, n_sentences))


def bootstrap(
    runs: Sequence[np.ndarray], *, n_resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of F1 over sentences (Koehn 2004, https://aclanthology.org/W04-3250/).

    `runs` are the counts of runs on the same sentences; of several, the mean F1 is resampled, all of them
    on the same sentences each time.  The interval tells what other sentences might bring, not other seeds.
    """
    counts = np.stack(runs, axis=1).astype(np.float64)  # (S, R, 3)
    n_sentences, n_runs, _ = counts.shape
    f1s = []
    for rows in resamples(n_sentences, n_resamples, seed):
        cells = (rows + n_sentences * np.arange(len(rows))[:, None]).ravel()
        weights = np.bincount(cells, minlength=len(rows) * n_sentences).reshape(len(rows), n_sentences)
        totals = (weights.astype(np.float64) @ counts.reshape(n_sentences, -1)).reshape(-1, n_runs, 3)
        f1s.append(precision_recall_f1(totals)[..., 2].mean(axis=1))
    low, high = np.quantile(np.concatenate(f1s), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def swapped_differences(ours: np.ndarray, theirs: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """F1 of ours less F1 of theirs, the two systems' answers exchanged where `swaps` (N, S) is True: (N,)."""
    moved = swaps.astype(np.float64) @ (theirs - ours).astype(np.float64)
    first, second = ours.sum(axis=0) + moved, theirs.sum(axis=0) - moved
    return precision_recall_f1(first)[..., 2] - precision_recall_f1(second)[..., 2]


def randomisation(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, n_shuffles: int = 10_000, seed: int = 0
) -> float:
    """p of the difference in F1 by approximate randomisation, two-sided (Noreen 1989; Yeh 2000,
    https://aclanthology.org/C00-2137/).

    Each sentence's answers of the two systems are exchanged or not, at random; p is the share of such
    shuffles whose difference is as large as the one found, the one found among them.  A system of several
    runs answers with the mean of their counts.
    """
    first, second = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    still = np.zeros((1, len(first)), dtype=bool)
    found = abs(swapped_differences(first, second, still)[0]) - 1e-12  # equal but for rounding is equal
    random = np.random.default_rng(seed)
    n_as_large = 0
    for n_rows in _rows_at_a_time(len(first), n_shuffles):
        swaps = random.integers(2, size=(n_rows, len(first)), dtype=np.int8)
        n_as_large += int((abs(swapped_differences(first, second, swaps)) >= found).sum())
    return (n_as_large + 1) / (n_shuffles + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p as it stands after Holm's (1979) correction for the number of comparisons; at most 1."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def _rows_at_a_time(n_columns: int, n_rows: int) -> Iterator[int]:
    at_a_time = max(1, CHUNK // max(1, n_columns))
    for first in range(0, n_rows, at_a_time):
        yield min(at_a_time, n_rows - first)
