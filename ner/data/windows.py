"""Long sentences: overlapping windows, which lose nothing, and truncation for comparison.

Sun et al., "How to fine-tune BERT for text classification?" (2019) compare the head, the tail, and 128 pieces
of the head with 382 of the tail.  Truncated tokens are not read: their gold counts as missed.
"""

from dataclasses import dataclass, replace

import numpy as np

from ner.annotations import ANNOTATIONS
from ner.data.examples import Examples
from ner.data.sentence import Sentence

LONG_TEXT = ("windows", "head", "tail", "head_tail")
HEAD_SHARE = 128 / 510  # share of the head in the pieces that head_tail keeps


@dataclass(frozen=True)
class Windows:
    """How a sentence of any length is cut into windows of `max_len` pieces, two of them special.

    A sentence that fits is one window.  A longer one gets the smallest number of full windows, evenly
    spread, with neighbours that share at least `overlap` pieces.  Each token is read from the window in
    which it is furthest from a cut, so it sees at least overlap / 2 pieces on either side.  If `long_text`
    is not "windows", longer sentences are truncated to one window instead.
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
        """Number of windows of a sentence of `n_pieces` pieces, an int or an array."""
        extra = np.maximum(n_pieces - self.capacity, 0) * (self.long_text == "windows")
        return 1 + -(-extra // (self.capacity - self.shared))

    def starts(self, n_pieces: int) -> np.ndarray:
        """(N,) int64, the first piece of each window."""
        n_windows = int(self.count(n_pieces))
        last = max(n_pieces - self.capacity, 0)
        return np.linspace(0, last, n_windows).round().astype(np.int64)

    def owner(self, starts: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """For each piece position the number of the window in which it is furthest from a cut."""
        middles = (starts[1:] + starts[:-1] + self.capacity) / 2  # of the pieces that two windows share
        return np.searchsorted(middles, positions, side="right")


def rounded(length):
    """Rounds a length up, so that a run has few shapes: steps of 4 up to 64, 8 to 128, 16 to 256, then 32."""
    length = np.asarray(length)
    step = np.select([length <= 64, length <= 128, length <= 256], [4, 8, 16], 32)
    return -(-length // step) * step


def truncate(examples: Examples, capacity: int, how: str) -> tuple[Examples, list[np.ndarray]]:
    """Examples of at most `capacity` pieces, and for each sentence the numbers (T,) int64 of its kept tokens.

    `how` is head, tail or head_tail.  Tokens stay whole; a single token that is longer is truncated itself.
    """
    n_tokens = np.diff(examples.token_ends)
    starts = examples.token_starts + np.repeat(examples.piece_ends[:-1], n_tokens)
    lengths = np.diff(np.append(starts, len(examples.pieces)))
    keep, n_read = np.ones(len(starts), bool), lengths.copy()
    for i in np.flatnonzero(examples.n_pieces > capacity):
        own = slice(examples.token_ends[i], examples.token_ends[i + 1])
        keep[own] = _kept_tokens(examples.token_starts[own], lengths[own], capacity, how)
        n_read[own] = np.minimum(lengths[own], capacity)
    kept = [np.flatnonzero(row) for row in np.split(keep, examples.token_ends[1:-1])]
    sentences = []
    for sentence, row in zip(examples.sentences, kept, strict=True):
        if len(row) < len(sentence.tokens):
            gold = {name: ANNOTATIONS[name].truncate(value, row) for name, value in sentence.gold.items()}
            sentence = Sentence(tuple(sentence.tokens[token] for token in row), gold)
        sentences.append(sentence)
    position = np.arange(len(examples.pieces)) - np.repeat(starts, lengths)  # of each piece in its token
    read = np.repeat(keep, lengths) & (position < np.repeat(n_read, lengths))
    token_ends = np.append(0, np.cumsum([len(row) for row in kept]))
    ends = np.append(0, np.cumsum(n_read[keep]))
    piece_ends = ends[token_ends]
    shorter = replace(
        examples,
        sentences=sentences,
        pieces=examples.pieces[read],
        token_starts=(ends[:-1] - np.repeat(piece_ends[:-1], np.diff(token_ends))).astype(np.int32),
        piece_ends=piece_ends,
        token_ends=token_ends,
        blank=None if examples.blank is None else examples.blank[keep],
    )
    return shorter, kept


def _kept_tokens(starts: np.ndarray, lengths: np.ndarray, capacity: int, how: str) -> np.ndarray:
    """(T,) bool: the tokens of a sentence that are read, at least one; starts and lengths (T,) in pieces."""
    ends, n_pieces = starts + lengths, starts[-1] + lengths[-1]
    head = {"head": capacity, "tail": 0, "head_tail": round(capacity * HEAD_SHARE)}[how]
    keep = (ends <= head) | (starts >= n_pieces - (capacity - head)) & (head < capacity)
    if not keep.any():
        keep[-1 if how == "tail" else 0] = True
    return keep
