"""Batches under a budget of pieces: few shapes, hardly any padding."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch

from ner.data.batch import Batch
from ner.data.examples import Examples
from ner.data.sentence import Sentence
from ner.data.windows import Windows, restored, rounded, truncate
from ner.tags import ScoredSpan, Span


class Batches:
    """Batches of `examples` under a budget of `batch_tokens` pieces, padding and specials included.

    Sentences of like length travel together.  With a `seed`, sentences and batches are shuffled anew
    each epoch; without one they come sorted by length, for prediction.  Every sentence comes exactly
    once, and the number of batches is the same in every epoch.  With `label_ids` there is gold, of the spans
    of each sentence those that `learnable` gives back.  `soft` (all tokens, K): a teacher's probabilities,
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
        learnable: Callable[[Sequence[Span]], Sequence[Span]] = tuple,
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
        self._gold_spans = [learnable(s.spans) for s in examples.sentences] if label_ids is not None else []
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

    def restored(self, i: int, spans: list[ScoredSpan]) -> list[ScoredSpan]:
        """Spans found in what was read of sentence i, by the numbers of its tokens."""
        return spans if self.kept is None else restored(spans, self.kept[i])

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
