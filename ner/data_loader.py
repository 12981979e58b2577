"""Sentences to batches: pieces in flat arrays, windows over long sentences, few shapes, hardly any padding.

The order of an epoch is a pure function of (seed, epoch), so a run can be resumed anywhere and no
worker needs a random state.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import torch

from ner.batch import Batch
from ner.corpus import Sentence
from ner.tags import ScoredSpan, Span
from ner.tokenizer import Tokenizer
from ner.truncation import LONG_TEXT, placed, truncate


@dataclass(frozen=True)
class Examples:
    """The pieces of many sentences as flat arrays; the sentences themselves for everything else.

    pieces       int32, piece ids of all sentences end to end, no specials
    token_starts int32, for each token the number of its first piece within its sentence
    piece_ends   int64 (sentences + 1,), sentence i owns pieces[piece_ends[i] : piece_ends[i + 1]]
    token_ends   int64 (sentences + 1,), likewise for tokens
    """

    sentences: Sequence[Sentence]
    pieces: np.ndarray
    token_starts: np.ndarray
    piece_ends: np.ndarray
    token_ends: np.ndarray
    specials: tuple[int, int, int]  # [CLS], [SEP], [PAD]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def n_pieces(self) -> np.ndarray:
        """(sentences,) pieces of each sentence, specials left out."""
        return np.diff(self.piece_ends)

    @property
    def annotated(self) -> bool:
        return all(sentence.spans is not None for sentence in self.sentences)


def encode(sentences: Sequence[Sentence], tokenizer: Tokenizer) -> Examples:
    """Pieces every token of every sentence; ValueError on a sentence without tokens."""
    n_tokens = [len(sentence.tokens) for sentence in sentences]
    if 0 in n_tokens:
        raise ValueError(f"sentence {n_tokens.index(0)} has no tokens, expected at least one")
    token_ends = np.concatenate([[0], np.cumsum(n_tokens)]).astype(np.int64)
    number: defaultdict[str, int] = defaultdict()
    number.default_factory = number.__len__  # a token that is new gets the next number
    tokens = chain.from_iterable(sentence.tokens for sentence in sentences)
    numbers = np.fromiter(map(number.__getitem__, tokens), np.int32, int(token_ends[-1]))
    distinct = [tokenizer.pieces(token) for token in number]
    n_pieces = np.array([len(pieces) for pieces in distinct], np.int64)
    flat = np.fromiter(chain.from_iterable(distinct), np.int32, int(n_pieces.sum()))

    lengths = n_pieces[numbers]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    piece_ends = starts[token_ends]
    from_flat = np.repeat((np.cumsum(n_pieces) - n_pieces)[numbers] - starts[:-1], lengths)
    return Examples(
        sentences=sentences,
        pieces=flat[from_flat + np.arange(len(from_flat))],
        token_starts=(starts[:-1] - np.repeat(piece_ends[:-1], n_tokens)).astype(np.int32),
        piece_ends=piece_ends,
        token_ends=token_ends,
        specials=(tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id),
    )


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


class DataLoader:
    """Batches of `examples` under a budget of `batch_tokens` pieces, padding and specials included.

    Sentences of like length travel together.  With a `seed`, sentences and batches are shuffled anew
    each epoch; without one they come sorted by length, for prediction.  Every sentence comes exactly
    once, and the number of batches is the same in every epoch.  With `label_ids` there is gold, of the spans
    of each sentence those that `findable` gives back.  `soft` are a teacher's probabilities, (all tokens, K),
    for training.  `examples` are then those given, cut short where the windows say so, and `sentences` the
    whole ones.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        windows: Windows,
        batch_tokens: int,
        label_ids: dict[str, int] | None = None,
        findable: Callable[[Sequence[Span]], Sequence[Span]] = tuple,
        seed: int | None = None,
        soft: np.ndarray | None = None,
    ):
        self._whole = examples
        self.kept: list[np.ndarray] | None = None
        if windows.long_text != "windows" and len(examples):
            firsts = examples.token_ends[:-1]
            examples, self.kept = truncate(examples, windows.capacity, windows.long_text)
            if soft is not None:
                soft = soft[
                    np.concatenate([row + first for row, first in zip(self.kept, firsts, strict=True)])
                ]
        self.examples = examples
        self.windows = windows
        self.batch_tokens = batch_tokens
        self.label_ids = label_ids
        self.seed = seed
        self._gold_spans = [findable(s.spans) for s in examples.sentences] if label_ids is not None else []
        self.soft = soft
        self._n_windows = windows.count(examples.n_pieces)
        window = np.minimum(examples.n_pieces + 2, windows.max_len)
        self._length = np.minimum(rounded(window), windows.max_len)

    def __len__(self) -> int:
        """Batches of any epoch."""
        return self._n_batches

    @cached_property
    def _n_batches(self) -> int:
        return len(self.batch_indices(0))

    @property
    def sentences(self) -> Sequence[Sentence]:
        return self._whole.sentences

    def n_tokens(self, indices: np.ndarray) -> int:
        """Tokens of a batch that is yet to be made."""
        token_ends = self.examples.token_ends
        return int((token_ends[indices + 1] - token_ends[indices]).sum())

    @property
    def n_unread(self) -> int:
        """Gold entities of which a part is cut off."""
        pairs = zip(self.sentences, self.examples.sentences, strict=True)
        return sum(len(whole.spans or ()) - len(read.spans or ()) for whole, read in pairs)

    def placed(self, i: int, spans: list[ScoredSpan]) -> list[ScoredSpan]:
        """Spans found in what was read of sentence i, by the numbers of its tokens."""
        return spans if self.kept is None else placed(spans, self.kept[i])

    def batch_indices(self, epoch: int) -> list[np.ndarray]:
        """Sentence numbers of every batch of an epoch, in order."""
        random = None if self.seed is None else np.random.default_rng((self.seed, epoch))
        n = len(self.examples)
        if not n:
            return []
        order = np.arange(n) if random is None else random.permutation(n)
        order = order[np.lexsort((self._length[order], self._n_windows[order]))]
        batches, carried = [], order[:0]
        shapes = np.stack([self._n_windows[order], self._length[order]], axis=1)
        cuts = np.flatnonzero(np.any(shapes[1:] != shapes[:-1], axis=1)) + 1
        for group in np.split(order, cuts):
            group = np.concatenate([carried, group])
            n_windows, length = int(self._n_windows[group[-1]]), int(self._length[group[-1]])
            rows = max(1, self.batch_tokens // (n_windows * length))
            # what does not fill a batch travels with the next longer group
            whole = len(group) // rows * rows
            batches.extend(np.split(group[:whole], range(rows, whole, rows)) if whole else [])
            carried = group[whole:]
        if len(carried):
            batches.append(carried)
        if random is not None:
            batches = [batches[i] for i in random.permutation(len(batches))]
        return batches

    def batches(self, epoch: int = 0):
        """Yields (sentence numbers, Batch)."""
        for indices in self.batch_indices(epoch):
            yield indices, self.collate(indices)

    def collate(self, indices: Sequence[int]) -> Batch:
        """Pads sentences to a `Batch`; for two sentences of 2 and 1 one-piece tokens:

        piece_ids [[[CLS, a, b, SEP]], [[CLS, c, SEP, PAD]]], token_piece [[1, 2], [1, 0]],
        mask [[True, True], [True, False]] (lengths rounded up besides).
        """
        examples, capacity = self.examples, self.windows.capacity
        cls_id, sep_id, pad_id = examples.specials
        n_windows, length = int(self._n_windows[indices].max()), int(self._length[indices].max())
        token_ends = examples.token_ends
        n_tokens = int((token_ends[np.add(indices, 1)] - token_ends[indices]).max())
        piece_ids = np.full((len(indices), n_windows, length), pad_id, dtype=np.int64)
        real = np.zeros((len(indices), n_windows), dtype=np.int64)
        token_piece = np.zeros((len(indices), n_tokens), dtype=np.int64)
        lengths = np.zeros(len(indices), dtype=np.int64)
        for row, i in enumerate(indices):
            pieces = examples.pieces[examples.piece_ends[i] : examples.piece_ends[i + 1]]
            positions = examples.token_starts[token_ends[i] : token_ends[i + 1]]
            starts = self.windows.starts(len(pieces))
            for window, start in enumerate(starts):
                text = pieces[start : start + capacity]
                piece_ids[row, window, 0] = cls_id
                piece_ids[row, window, 1 : len(text) + 1] = text
                piece_ids[row, window, len(text) + 1] = sep_id
                real[row, window] = len(text) + 2
            owner = self.windows.owner(starts, positions)
            token_piece[row, : len(positions)] = owner * length + positions - starts[owner] + 1
            lengths[row] = len(positions)
        return Batch(
            piece_ids=torch.from_numpy(piece_ids),
            piece_mask=torch.from_numpy(np.arange(length) < real[..., None]),
            token_piece=torch.from_numpy(token_piece),
            mask=torch.from_numpy(np.arange(n_tokens) < lengths[:, None]),
            spans=self._gold(indices) if self.label_ids is not None else None,
            soft=self._soft(indices, n_tokens) if self.soft is not None else None,
        )

    def _gold(self, indices: Sequence[int]) -> torch.Tensor:
        """Gold spans; one that the model cannot find or whose label it lacks the scorer counts as missed."""
        ids = self.label_ids
        gold_spans = [self._gold_spans[i] for i in indices]
        rows = [[(s.start, s.end, ids[s.label]) for s in spans if s.label in ids] for spans in gold_spans]
        return pad_spans(rows)

    def _soft(self, indices: Sequence[int], n_tokens: int) -> torch.Tensor:
        soft = torch.zeros(len(indices), n_tokens, self.soft.shape[1])
        for row, i in enumerate(indices):
            own = self.soft[self.examples.token_ends[i] : self.examples.token_ends[i + 1]]
            soft[row, : len(own)] = torch.from_numpy(own.astype(np.float32))
        return soft


def pad_spans(rows: Sequence[Sequence[tuple[int, int, int]]]) -> torch.Tensor:
    """(B, S, 3) int64: (start, end, label number) of each sentence's spans, padded by the empty span."""
    padded = torch.zeros(len(rows), max(map(len, rows)), 3, dtype=torch.int64)
    for row, spans in enumerate(rows):
        if spans:
            padded[row, : len(spans)] = torch.tensor(spans)
    return padded


def token_budget(examples: Examples, windows: Windows, batch_size: int) -> int:
    """Pieces a batch: `batch_size` sentences of the mean window of these examples."""
    n_windows = windows.count(examples.n_pieces)
    cells = np.minimum(examples.n_pieces + 2, windows.max_len * n_windows)
    return max(windows.max_len, round(batch_size * float(cells.mean())))
