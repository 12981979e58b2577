"""Sentences as pieces.  Long ones: overlapping windows, which lose nothing, and truncation for comparison.

Sun et al., "How to fine-tune BERT for text classification?" (2019) compare the head, the tail, and 128 pieces
of the head with 382 of the tail.  Truncated tokens are not read: their gold counts as missed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ner.annotations import ANNOTATIONS
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.words import is_blank

LONG_TEXT = ("windows", "head", "tail", "head_tail")
HEAD_SHARE = 128 / 510  # share of the head in the pieces that head_tail keeps


@dataclass(frozen=True)
class Examples:
    """The pieces of n sentences as flat arrays, and the sentences themselves.

    pieces     (pieces,)     int32  piece ids of all sentences end to end, without special pieces
    starts     (tokens + 1,) int64  position in `pieces` of the first piece of each token, then the end
    token_ends (n + 1,)      int64  sentence i owns tokens token_ends[i] to token_ends[i + 1]
    blank      (tokens,)     bool   True if nothing of the token is visible; None: no token is blank
    """

    sentences: Sequence[Sentence]
    pieces: np.ndarray
    starts: np.ndarray
    token_ends: np.ndarray
    specials: tuple[int, int, int]  # [CLS], [SEP], [PAD]
    blank: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def n_pieces(self) -> np.ndarray:
        """(n,) number of pieces of each sentence, without special pieces."""
        return np.diff(self.starts[self.token_ends])

    def of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of sentence i, and the position among them of each token's first piece."""
        starts = self.starts[self.token_ends[i] : self.token_ends[i + 1] + 1]
        return self.pieces[starts[0] : starts[-1]], starts[:-1] - starts[0]


def encode(sentences: Sequence[Sentence], tokenizer: WordPiece) -> Examples:
    """Splits every token into pieces, each distinct token once.  ValueError if a sentence is empty."""
    n_tokens = [len(sentence.tokens) for sentence in sentences]
    if 0 in n_tokens:
        raise ValueError(f"sentence {n_tokens.index(0)} has no tokens, expected at least one")
    number: defaultdict[str, int] = defaultdict(lambda: len(number))  # a new token gets the next number
    tokens = chain.from_iterable(sentence.tokens for sentence in sentences)
    numbers = np.fromiter(map(number.__getitem__, tokens), np.int32, sum(n_tokens))
    distinct = [tokenizer.pieces(token) for token in number]
    blank = np.fromiter(map(is_blank, number), bool, len(number))
    n_pieces = np.array([len(pieces) for pieces in distinct], np.int64)
    flat = np.fromiter(chain.from_iterable(distinct), np.int32, int(n_pieces.sum()))
    starts = np.append(0, np.cumsum(n_pieces[numbers]))
    from_flat = np.repeat((np.cumsum(n_pieces) - n_pieces)[numbers] - starts[:-1], n_pieces[numbers])
    return Examples(
        sentences=sentences,
        pieces=flat[from_flat + np.arange(len(from_flat))],
        starts=starts,
        token_ends=np.cumsum([0, *n_tokens]),
        specials=(tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id),
        blank=blank[numbers] if blank.any() else None,
    )


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
    starts, lengths = examples.starts, np.diff(examples.starts)
    n_read = lengths.copy()  # pieces of each token that are read
    for i in np.flatnonzero(examples.n_pieces > capacity):
        own = slice(examples.token_ends[i], examples.token_ends[i + 1])
        keep = _kept_tokens(starts[own] - starts[own.start], lengths[own], capacity, how)
        n_read[own] = keep * np.minimum(lengths[own], capacity)
    kept = [np.flatnonzero(row) for row in np.split(n_read, examples.token_ends[1:-1])]
    sentences = []
    for sentence, row in zip(examples.sentences, kept, strict=True):
        if len(row) < len(sentence.tokens):
            gold = {name: ANNOTATIONS[name].truncate(value, row) for name, value in sentence.gold.items()}
            sentence = Sentence(tuple(sentence.tokens[token] for token in row), gold)
        sentences.append(sentence)
    position = np.arange(len(examples.pieces)) - np.repeat(starts[:-1], lengths)  # of each piece in its token
    shorter = replace(
        examples,
        sentences=sentences,
        pieces=examples.pieces[position < np.repeat(n_read, lengths)],
        starts=np.append(0, np.cumsum(n_read[n_read > 0])),
        token_ends=np.cumsum([0, *map(len, kept)]),
        blank=None if examples.blank is None else examples.blank[n_read > 0],
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
