"""Entity-level scores: a predicted span is correct if a gold span has the same start, end and label.

For legal tags these are the figures of seqeval's `mode="strict"`.  All sentences are counted together (micro
average).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from ner.tags import Span


@dataclass
class Counts:
    """Number of entities, of one type or of all."""

    n_gold: int = 0
    n_predicted: int = 0
    n_correct: int = 0

    @property
    def precision(self) -> float:
        return self.n_correct / self.n_predicted if self.n_predicted else 0.0

    @property
    def recall(self) -> float:
        return self.n_correct / self.n_gold if self.n_gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall in [0, 1]; 0 if there are none."""
        total = self.n_gold + self.n_predicted
        return 2 * self.n_correct / total if total else 0.0

    def rates(self) -> dict[str, float]:
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}


@dataclass
class SpanScores:
    """Counts over a set of sentences."""

    total: Counts = field(default_factory=Counts)
    per_type: dict[str, Counts] = field(default_factory=dict)
    n_sentences: int = 0
    n_tokens: int = 0
    n_tokens_correct: int = 0
    n_tokens_outside: int = 0

    @property
    def headline(self) -> float:
        return self.total.f1

    @property
    def n_gold(self) -> int:
        return self.total.n_gold

    @property
    def accuracy(self) -> float:
        """Share of tokens whose BIO tag is right; if entities overlap, all tags of the token."""
        return self.n_tokens_correct / self.n_tokens if self.n_tokens else 0.0

    @property
    def accuracy_all_o(self) -> float:
        """The accuracy of predicting no entity at all: the baseline for `accuracy`."""
        return self.n_tokens_outside / self.n_tokens if self.n_tokens else 0.0

    def per_epoch(self) -> dict[str, float]:
        return self.total.rates() | {"accuracy": self.accuracy, "accuracy_all_o": self.accuracy_all_o}

    def summary(self) -> dict:
        types = sorted(self.per_type.items())
        return {
            "f1": self.total.f1,
            **self.per_epoch(),
            **asdict(self.total),
            "n_sentences": self.n_sentences,
            "n_tokens": self.n_tokens,
            "per_type": {label: counts.rates() | {"support": counts.n_gold} for label, counts in types},
        }

    def table(self) -> list[tuple[str, ...]]:
        """Precision, recall, F1, gold and predicted entities of each type and of all."""
        rows = [("type", "precision", "recall", "F1", "gold", "predicted")]
        for label, c in [*sorted(self.per_type.items()), ("all", self.total)]:
            percents = (f"{100 * value:.2f}" for value in c.rates().values())
            rows.append((label, *percents, str(c.n_gold), str(c.n_predicted)))
        return rows

    def describe(self) -> str:
        precision, recall, f1, accuracy, all_o = (f"{100 * x:.2f}" for x in self.per_epoch().values())
        return f"P {precision}  R {recall}  F1 {f1}  accuracy {accuracy} (all O: {all_o})"


def score(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], n_tokens: Sequence[int]
) -> SpanScores:
    """Scores predicted against gold spans, one iterable of spans for each sentence.

    `n_tokens` are the lengths of the sentences, for the accuracy.  ValueError if the three differ in length
    or a span ends outside its sentence.
    """
    if not len(gold) == len(predicted) == len(n_tokens):
        lengths = f"{len(gold)}, {len(predicted)} and {len(n_tokens)}"
        raise ValueError(f"gold, predicted and n_tokens: got {lengths} sentences, expected as many of each")
    truth, guess = ({(i, *s) for i, spans in enumerate(side) for s in spans} for side in (gold, predicted))
    per_type: dict[str, Counts] = defaultdict(Counts)
    correct = truth & guess
    for name, spans in (("n_gold", truth), ("n_predicted", guess), ("n_correct", correct)):
        for label, n in Counter(span[3] for span in spans).items():
            setattr(per_type[label], name, n)
    firsts = np.concatenate([[0], np.cumsum(n_tokens, dtype=np.int64)])
    truth_tags, guess_tags = (_tags(spans, firsts, list(per_type)) for spans in (truth, guess))
    wrong = np.setxor1d(truth_tags, guess_tags, assume_unique=True)
    return SpanScores(
        total=Counts(len(truth), len(guess), len(correct)),
        per_type=dict(per_type),
        n_sentences=len(gold),
        n_tokens=int(firsts[-1]),
        n_tokens_correct=int(firsts[-1]) - _n_tokens(wrong, len(per_type)),
        n_tokens_outside=int(firsts[-1]) - _n_tokens(truth_tags, len(per_type)),
    )


def _tags(spans: set[tuple], firsts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Numbers of all tags that the spans (row, start, end, label) give to tokens: int64, sorted, distinct.

    A number encodes the position of the token in all sentences end to end (`firsts`: where they begin), then
    whether it is the first of its entity, then its label.  A token of overlapping entities has several tags.
    """
    if not spans:
        return np.zeros(0, np.int64)
    rows, starts, ends, names = zip(*spans, strict=True)
    rows, starts, ends = np.array(rows), np.array(starts), np.array(ends)
    lengths = ends - starts
    if (starts < 0).any() or (lengths < 0).any() or (firsts[rows] + ends > firsts[rows + 1]).any():
        raise ValueError("a span: expected 0 <= start <= end, and the end inside its sentence")
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.repeat(firsts[rows] + starts, lengths) + inside
    numbers = {label: number for number, label in enumerate(labels)}
    label = np.repeat([numbers[name] for name in names], lengths)
    tags = np.sort((2 * positions + (inside == 0)) * len(labels) + label)
    return tags[np.diff(tags, prepend=-1) > 0]


def _n_tokens(tags: np.ndarray, n_labels: int) -> int:
    """Number of distinct tokens in the sorted numbers of `_tags`."""
    return int(np.count_nonzero(np.diff(tags // max(1, 2 * n_labels), prepend=-1)))


def tag_counts(spans: Iterable[Iterable[Span]]) -> Counter:
    """Number of tokens with each BIO tag, to diagnose a model that predicts nothing right."""
    tagged = {
        (row, t, ("B-" if t == start else "I-") + label)
        for row, sentence in enumerate(spans)
        for start, end, label, *_ in sentence
        for t in range(start, end)
    }
    return Counter(tag for *_, tag in tagged)
