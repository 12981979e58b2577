"""Entity-level scores: a predicted span counts if a gold span has the same ends and the same label.

Over legal tags this is seqeval's `mode="strict"`; all sentences are counted together (micro average).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ner.errors import DataError
from ner.tags import Span, TagSet, guess_scheme, split_tag


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
    length or a span leaves its sentence.
    """
    if not len(gold) == len(predicted) == len(n_tokens):
        lengths = f"{len(gold)}, {len(predicted)} and {len(n_tokens)}"
        raise ValueError(f"gold, predicted and n_tokens: got {lengths} sentences, expected as many of each")
    truth, guess = (
        {(row, *s) for row, spans in enumerate(both) for s in spans} for both in (gold, predicted)
    )
    per_type: dict[str, Counts] = defaultdict(Counts)
    correct = truth & guess
    for name, spans in (("n_gold", truth), ("n_predicted", guess), ("n_correct", correct)):
        for label, n in Counter(span[3] for span in spans).items():
            setattr(per_type[label], name, n)
    firsts = np.concatenate([[0], np.cumsum(n_tokens, dtype=np.int64)])
    truth_tags, guess_tags = (_tags(spans, firsts, list(per_type)) for spans in (truth, guess))
    wrong = np.setxor1d(truth_tags, guess_tags, assume_unique=True)
    return Scores(
        total=Counts(len(truth), len(guess), len(correct)),
        per_type=dict(per_type),
        n_sentences=len(gold),
        n_tokens=int(firsts[-1]),
        n_tokens_correct=int(firsts[-1]) - _n_places(wrong, len(per_type)),
        n_tokens_outside=int(firsts[-1]) - _n_places(truth_tags, len(per_type)),
    )


def _tags(spans: set[tuple], firsts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A number for each tag that a token has from the spans (row, start, end, label): sorted, each once.

    The token's place in all sentences, which begin at `firsts`, then whether it is the first of its entity,
    then its label.  A token has several tags where entities overlap.
    """
    if not spans:
        return np.zeros(0, np.int64)
    rows, starts, ends, names = zip(*spans, strict=True)
    rows, starts, ends = np.array(rows), np.array(starts), np.array(ends)
    lengths = ends - starts
    if (starts < 0).any() or (lengths < 0).any() or (firsts[rows] + ends > firsts[rows + 1]).any():
        raise ValueError("a span: expected 0 <= start <= end, and the end inside its sentence")
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(firsts[rows] + starts, lengths) + within
    numbers = {label: number for number, label in enumerate(labels)}
    label = np.repeat([numbers[name] for name in names], lengths)
    tags = np.sort((2 * places + (within == 0)) * len(labels) + label)
    return tags[np.diff(tags, prepend=-1) > 0]


def _n_places(tags: np.ndarray, n_labels: int) -> int:
    """Tokens that the sorted `_tags` speak of."""
    return int(np.count_nonzero(np.diff(tags // max(1, 2 * n_labels), prepend=-1)))


def tag_counts(spans: Iterable[Iterable[Span]]) -> Counter:
    """How many tokens bear each BIO tag; for a look at a model that predicts nothing right."""
    tagged = {
        (row, t, ("B-" if t == start else "I-") + label)
        for row, sentence in enumerate(spans)
        for start, end, label, *_ in sentence
        for t in range(start, end)
    }
    return Counter(tag for *_, tag in tagged)


def tag_set_of(first_seen: dict[str, int], path: str | Path, scheme: str | None = None) -> TagSet:
    """The tag set of a file from its tags and the line of each tag's first use; DataError names that line."""
    prefixes = {"O": "O"}
    for tag, number in first_seen.items():
        try:
            prefix, _ = split_tag(tag)
            if prefix not in prefixes:
                prefixes[prefix] = tag
                TagSet(list(prefixes.values()), scheme or guess_scheme(prefixes.values()))
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    tags = ["O", *sorted(set(first_seen) - {"O"})]
    guessed = guess_scheme(tags)
    # single entities may lack I-, or begin with I- by mistake: within B- and I- the reading is the same
    return TagSet(tags, scheme or ("BIO" if guessed in ("IOB1", "IO") else guessed))
