"""Entity-level scores: a predicted span counts if a gold span has the same ends and the same label.

Over legal tags this is seqeval's `mode="strict"`; all sentences are counted together (micro average).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ner.tags import Span


@dataclass
class Counts:
    """Entities of one type, or of all."""

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
        """Harmonic mean of precision and recall in [0, 1]; 0 where nothing is gold or predicted."""
        total = self.n_gold + self.n_predicted
        return 2 * self.n_correct / total if total else 0.0


@dataclass
class Scores:
    """What was counted over a set of sentences."""

    total: Counts = field(default_factory=Counts)
    per_type: dict[str, Counts] = field(default_factory=dict)
    n_sentences: int = 0
    n_tokens: int = 0
    n_tokens_correct: int = 0
    n_tokens_outside: int = 0

    @property
    def accuracy(self) -> float:
        """Share of tokens whose BIO tag is right; all of their tags where entities overlap."""
        return self.n_tokens_correct / self.n_tokens if self.n_tokens else 0.0

    @property
    def accuracy_all_o(self) -> float:
        """The accuracy of predicting no entity at all: what `accuracy` has to be read against."""
        return self.n_tokens_outside / self.n_tokens if self.n_tokens else 0.0

    def summary(self) -> dict:
        """The figures of `metrics_<split>.json`; fractions, not percent."""
        per_type = {
            label: {"precision": c.precision, "recall": c.recall, "f1": c.f1, "support": c.n_gold}
            for label, c in sorted(self.per_type.items())
        }
        return {
            "f1": self.total.f1,
            "precision": self.total.precision,
            "recall": self.total.recall,
            "accuracy": self.accuracy,
            "accuracy_all_o": self.accuracy_all_o,
            "n_gold": self.total.n_gold,
            "n_predicted": self.total.n_predicted,
            "n_correct": self.total.n_correct,
            "n_sentences": self.n_sentences,
            "n_tokens": self.n_tokens,
            "per_type": per_type,
        }


def score(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], n_tokens: Sequence[int]
) -> Scores:
    """Scores predicted against gold spans, one iterable of spans a sentence.

    `n_tokens` are the lengths of the sentences, for the accuracy.  ValueError where the three differ in
    length.
    """
    if not len(gold) == len(predicted) == len(n_tokens):
        lengths = f"{len(gold)}, {len(predicted)} and {len(n_tokens)}"
        raise ValueError(f"gold, predicted and n_tokens: got {lengths} sentences, expected as many of each")
    truth, guess = (
        {(row, *s) for row, spans in enumerate(both) for s in spans} for both in (gold, predicted)
    )
    per_type: dict[str, Counts] = defaultdict(Counts)
    for name, spans in (("n_gold", truth), ("n_predicted", guess), ("n_correct", truth & guess)):
        for label, n in Counter(span[3] for span in spans).items():
            setattr(per_type[label], name, n)
    n_all = sum(n_tokens)
    return Scores(
        total=Counts(len(truth), len(guess), len(truth & guess)),
        per_type=dict(per_type),
        n_sentences=len(gold),
        n_tokens=n_all,
        n_tokens_correct=n_all - _n_wrong(truth, guess),
        n_tokens_outside=n_all - _n_covered(truth, n_tokens),
    )


def _n_wrong(truth: set[tuple], guess: set[tuple]) -> int:
    """Tokens whose tags differ: among those that a span (row, start, end, label) of one side covers."""
    missed, spurious = _tagged(truth - guess), _tagged(guess - truth)
    places = missed.keys() | spurious.keys()
    rows = {row for row, _ in places}
    shared = _tagged(span for span in truth & guess if span[0] in rows)  # they may overlap those
    return sum(missed[p] | shared[p] != spurious[p] | shared[p] for p in places)


def _n_covered(spans: set[tuple], n_tokens: Sequence[int]) -> int:
    """Tokens that any of the spans (row, start, end, label) covers."""
    firsts = np.concatenate([[0], np.cumsum(n_tokens, dtype=np.int64)])
    places = np.array([(row, start, end) for row, start, end, _ in spans], np.int64).reshape(-1, 3)
    steps = np.zeros(firsts[-1] + 1, np.int64)
    np.add.at(steps, firsts[places[:, 0]] + places[:, 1], 1)
    np.add.at(steps, firsts[places[:, 0]] + places[:, 2], -1)
    return int((steps.cumsum() > 0).sum())


def _tagged(spans: Iterable[tuple[int, int, int, str]]) -> defaultdict[tuple[int, int], set]:
    """(row, token) -> (first of its entity?, label), of each span (row, start, end, label) that it is in."""
    tagged: defaultdict[tuple[int, int], set] = defaultdict(set)
    for row, start, end, label in spans:
        for t in range(start, end):
            tagged[row, t].add((t == start, label))
    return tagged


def tag_counts(spans: Iterable[Iterable[Span]]) -> Counter:
    """How many tokens bear each BIO tag; for a look at a model that predicts nothing right."""
    tagged = _tagged((row, *span) for row, sentence in enumerate(spans) for span in sentence)
    return Counter(("B-" if first else "I-") + label for tags in tagged.values() for first, label in tags)
