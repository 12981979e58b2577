"""Entity-level scores: a predicted span counts if a gold span has the same ends and the same label.

Over legal tags this is seqeval's `mode="strict"`; all sentences are counted together (micro average).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
    scores = Scores()
    for gold_spans, predicted_spans, length in zip(gold, predicted, n_tokens, strict=True):
        truth, guess = set(gold_spans), set(predicted_spans)
        for spans, name in ((truth, "n_gold"), (guess, "n_predicted"), (truth & guess, "n_correct")):
            for span in spans:
                counts = scores.per_type.setdefault(span.label, Counts())
                setattr(counts, name, getattr(counts, name) + 1)
        truth_tags, guess_tags = _tagged(truth), _tagged(guess)
        wrong = sum(truth_tags.get(t) != guess_tags.get(t) for t in truth_tags.keys() | guess_tags.keys())
        scores.n_sentences += 1
        scores.n_tokens += length
        scores.n_tokens_correct += length - wrong
        scores.n_tokens_outside += length - len(truth_tags)
    for name in ("n_gold", "n_predicted", "n_correct"):
        setattr(scores.total, name, sum(getattr(c, name) for c in scores.per_type.values()))
    return scores


def _tagged(spans: Iterable[Span]) -> dict[int, set[tuple[bool, str]]]:
    """Token -> (first of its entity?, label), of each that it is in; tokens outside are left out."""
    tagged: dict[int, set] = defaultdict(set)
    for start, end, label in spans:
        for t in range(start, end):
            tagged[t].add((t == start, label))
    return tagged


def tag_counts(spans: Iterable[Iterable[Span]]) -> Counter:
    """How many tokens bear each BIO tag; for a look at a model that predicts nothing right."""
    counts: Counter = Counter()
    for sentence in spans:
        for tags in _tagged(sentence).values():
            counts.update(("B-" if first else "I-") + label for first, label in tags)
    return counts
