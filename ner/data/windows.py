"""Long sentences: overlapping windows, or truncation for comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ner.data.sentence import Sentence
from ner.tags import ScoredSpan


@dataclass(frozen=True)
class Windows:
    """How a sentence of any length is cut: windows of `max_len` pieces, two of them specials.

    A sentence that fits is one window.  A longer one becomes the least number of windows of full
    length, evenly spread, neighbours sharing at least `overlap` pieces; each token is read from the
    window in which it lies furthest from a cut, so it sees at least overlap / 2 pieces on either side.
    With another `long_text` than windows, a longer sentence is cut short to one window (`ner.truncation`).
    """

    max_len: int
    overlap: int | None = None  # None: a third of the window
    long_text: str = "windows"

    def __post_init__(self):
        if self.long_text not in LONG_TEXT:
            raise ValueError(f"long_text: got {self.long_text!r}, expected one of {', '.join(LONG_TEXT)}")
        if self.max_len < 4:
            raise ValueError(f"max_len {self.max_len}, expected at least 4: two pieces and two specials")
        if not 0 <= self.shared < self.capacity:
            raise ValueError(f"overlap {self.overlap}, expected 0 to {self.capacity - 1}")

    @property
    def capacity(self) -> int:
        return self.max_len - 2

    @property
    def shared(self) -> int:
        return self.capacity // 3 if self.overlap is None else self.overlap

    def count(self, n_pieces):
        """Windows of sentences of so many pieces; an int or an array of them."""
        extra = np.maximum(n_pieces - self.capacity, 0) * (self.long_text == "windows")
        return 1 + -(-extra // (self.capacity - self.shared))

    def starts(self, n_pieces: int) -> np.ndarray:
        """(N,) int64, the first piece of each window."""
        n_windows = int(self.count(n_pieces))
        last = max(n_pieces - self.capacity, 0)
        return np.linspace(0, last, n_windows).round().astype(np.int64)

    def owner(self, starts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """For each piece position the window in which it lies furthest from a cut."""
        middles = (starts[1:] + starts[:-1] + self.capacity) / 2  # of the shared stretches
        return np.searchsorted(middles, positions, side="right")


def rounded(length):
    """The next length of a small fixed set: steps of 4 to 64, 8 to 128, 16 to 256, 32 beyond."""
    length = np.asarray(length)
    step = np.select([length <= 64, length <= 128, length <= 256], [4, 8, 16], 32)
    return -(-length // step) * step


LONG_TEXT = ("windows", "head", "tail", "head_tail")
HEAD_SHARE = 128 / 510  # of the pieces that are kept, with head_tail


def truncate(examples, capacity: int, how: str):
    """Examples of at most `capacity` pieces, and for each sentence the numbers (T,) of the tokens left.

    Tokens stay whole; of a token that alone is longer, its beginning is read.
    """
    n_tokens = np.diff(examples.token_ends)
    starts = examples.token_starts + np.repeat(examples.piece_ends[:-1], n_tokens)
    lengths = np.diff(np.append(starts, len(examples.pieces)))
    keep, n_read = np.ones(len(starts), bool), lengths.copy()
    for i in np.flatnonzero(examples.n_pieces > capacity):
        own = slice(examples.token_ends[i], examples.token_ends[i + 1])
        keep[own] = kept_tokens(examples.token_starts[own], lengths[own], capacity, how)
        n_read[own] = np.minimum(lengths[own], capacity)
    kept = [np.flatnonzero(row) for row in np.split(keep, examples.token_ends[1:-1])]
    rows = zip(examples.sentences, kept, strict=True)
    within = np.arange(len(examples.pieces)) - np.repeat(starts, lengths)  # place of each piece in its token
    read = np.repeat(keep, lengths) & (within < np.repeat(n_read, lengths))
    token_ends = np.append(0, np.cumsum([len(row) for row in kept]))
    ends = np.append(0, np.cumsum(n_read[keep]))
    piece_ends = ends[token_ends]
    shorter = replace(
        examples,
        sentences=[_shortened(sentence, row) for sentence, row in rows],
        pieces=examples.pieces[read],
        token_starts=(ends[:-1] - np.repeat(piece_ends[:-1], np.diff(token_ends))).astype(np.int32),
        piece_ends=piece_ends,
        token_ends=token_ends,
    )
    return shorter, kept


def kept_tokens(starts: np.ndarray, lengths: np.ndarray, capacity: int, how: str) -> np.ndarray:
    """(T,) bool of one sentence, starts and lengths (T,) in pieces: which tokens are read, one at least."""
    ends, n_pieces = starts + lengths, starts[-1] + lengths[-1]
    head = {"head": capacity, "tail": 0, "head_tail": round(capacity * HEAD_SHARE)}[how]
    keep = (ends <= head) | (starts >= n_pieces - (capacity - head)) & (head < capacity)
    if not keep.any():
        keep[-1 if how == "tail" else 0] = True
    return keep


def _shortened(sentence: Sentence, kept: np.ndarray) -> Sentence:
    if len(kept) == len(sentence.tokens):
        return sentence
    number = {int(token): i for i, token in enumerate(kept)}
    tokens = tuple(sentence.tokens[token] for token in kept)
    if sentence.spans is None:
        return Sentence(tokens, None)
    whole = (span for span in sentence.spans if all(t in number for t in range(span.start, span.end)))
    return Sentence(
        tokens, tuple(s._replace(start=number[s.start], end=number[s.end - 1] + 1) for s in whole)
    )


def restored(spans: Sequence[ScoredSpan], kept: np.ndarray) -> list[ScoredSpan]:
    """Spans over the tokens that are left, over all; one across what was left out is no span of the text."""
    found = []
    for span in spans:
        start, end = int(kept[span.start]), int(kept[span.end - 1]) + 1
        if end - start == span.end - span.start:
            found.append(span._replace(start=start, end=end))
    return found
