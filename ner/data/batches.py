"""Sentences to batches: few shapes, hardly any padding.

The order of an epoch is a pure function of (seed, epoch), so a run can be resumed at any batch, and no worker
needs a random state.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from ner.annotations import ANNOTATIONS
from ner.data.batch import Batch
from ner.data.sentence import Sentence
from ner.data.windows import Examples, Windows, rounded, truncate


class Targets(Protocol):
    """How gold becomes tensors: what batches must know of a head."""

    inventories: Mapping[str, Any]
    "the inventory of each annotation that is learned, by name"

    def learnable(self, name: str, value: Any) -> Any:
        """The part of a gold value that the head can learn; the rest is scored as missed."""


class Batches:
    """Batches of `examples` under a budget of `batch_tokens` pieces, padding and special pieces included.

    Sentences of similar length share a batch.  With a `seed`, sentences and batches are shuffled in each
    epoch; without one they are sorted by length, for prediction.  Every sentence comes exactly once, and
    the number of batches is the same in every epoch.

    With `targets`, batches hold gold.  `soft_tags` (tokens of all examples, K) are a teacher's
    probabilities.  `examples` are whole; if `windows` truncates, only the kept tokens are read.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        windows: Windows,
        batch_tokens: int,
        targets: Targets | None = None,
        soft_tags: np.ndarray | None = None,
        seed: int | None = None,
    ):
        self.examples, self.windows, self.batch_tokens = examples, windows, batch_tokens
        self.targets, self.seed = targets, seed
        self._read, self.kept = examples, None
        if windows.long_text != "windows" and len(examples):
            self._read, self.kept = truncate(examples, windows.capacity, windows.long_text)
            if soft_tags is not None:
                rows = zip(self.kept, examples.token_ends[:-1], strict=True)
                soft_tags = soft_tags[np.concatenate([kept + first for kept, first in rows])]
        self.soft_tags = soft_tags
        self._gold = {}
        for name in targets.inventories if targets else ():
            self._gold[name] = [targets.learnable(name, s.gold[name]) for s in self._read.sentences]
        self._n_windows = windows.count(self._read.n_pieces)
        lengths = np.minimum(self._read.n_pieces + 2, windows.max_len)
        self._lengths = np.minimum(rounded(lengths), windows.max_len)

    def __len__(self) -> int:
        """Number of batches of any epoch."""
        return self._n_batches

    @cached_property
    def _n_batches(self) -> int:
        return len(self.batch_indices(0))

    @property
    def sentences(self) -> Sequence[Sentence]:
        return self.examples.sentences

    def n_tokens(self, indices: np.ndarray) -> int:
        """Number of tokens that a batch of these sentences reads."""
        token_ends = self._read.token_ends
        return int((token_ends[indices + 1] - token_ends[indices]).sum())

    def n_unread(self, name: str) -> int:
        """Number of gold items of an annotation that truncation removes, in whole or in part."""
        count = ANNOTATIONS[name].count
        pairs = zip(self.sentences, self._read.sentences, strict=True)
        return sum(count(whole.gold[name]) - count(read.gold[name]) for whole, read in pairs)

    def restore(self, i: int, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer for sentence i as read, over the tokens of the whole sentence."""
        if self.kept is None:
            return dict(answer)
        return {name: ANNOTATIONS[name].restore(value, self.kept[i]) for name, value in answer.items()}

    def batch_indices(self, epoch: int) -> list[np.ndarray]:
        """Sentence numbers of every batch of an epoch, in order."""
        options = {"budget": self.batch_tokens, "seed": self.seed, "epoch": epoch}
        return batch_order(self._lengths, self._n_windows, **options)

    def batches(self, epoch: int = 0) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yields (sentence numbers, Batch)."""
        for indices in self.batch_indices(epoch):
            yield indices, self.collate(indices)

    def collate(self, indices: Sequence[int]) -> Batch:
        """Pads sentences to a `Batch`.  Two sentences, of the one-piece tokens a b and c, become

            piece_ids    [[[CLS, a, b, SEP]], [[CLS, c, SEP, PAD]]]     (B = 2, N = 1, P = 4)
            token_piece  [[1, 2], [1, 0]]                               (B, T = 2)
            mask         [[True, True], [True, False]]

        P is rounded up besides (`rounded`).
        """
        n_windows, length = int(self._n_windows[indices].max()), int(self._lengths[indices].max())
        token_ends = self._read.token_ends
        n_tokens = token_ends[np.add(indices, 1)] - token_ends[indices]
        cls_id, sep_id, pad_id = self._read.specials
        piece_ids = np.full((len(indices), n_windows, length), pad_id, dtype=np.int64)
        n_real = np.zeros((len(indices), n_windows), dtype=np.int64)
        token_piece = np.zeros((len(indices), n_tokens.max()), dtype=np.int64)
        blank = None if self._read.blank is None else np.zeros(token_piece.shape, bool)
        for row, i in enumerate(indices):
            pieces, positions = self._read.of(i)
            starts, n_text = self.windows.starts(len(pieces)), min(len(pieces), self.windows.capacity)
            piece_ids[row, : len(starts), 1 : n_text + 1] = pieces[starts[:, None] + np.arange(n_text)]
            n_real[row, : len(starts)] = n_text + 2
            if blank is not None:
                blank[row, : n_tokens[row]] = self._read.blank[token_ends[i] : token_ends[i + 1]]
            owner = self.windows.owner(starts, positions)
            token_piece[row, : len(positions)] = owner * length + positions - starts[owner] + 1
        real = n_real > 0
        piece_ids[real, 0], piece_ids[real, n_real[real] - 1] = cls_id, sep_id
        return Batch(
            piece_ids=torch.from_numpy(piece_ids),
            piece_mask=torch.from_numpy(np.arange(length) < n_real[..., None]),
            token_piece=torch.from_numpy(token_piece),
            mask=torch.from_numpy(np.arange(n_tokens.max()) < n_tokens[:, None]),
            gold=self._collate_gold(indices, n_tokens.max()),
            blank=None if blank is None or not blank.any() else torch.from_numpy(blank),
        )

    def _collate_gold(self, indices: Sequence[int], n_tokens: int) -> dict[str, torch.Tensor]:
        gold = {}
        for name, values in self._gold.items():
            own = [values[i] for i in indices]
            gold[name] = torch.from_numpy(ANNOTATIONS[name].collate(own, self.targets.inventories[name]))
        if self.soft_tags is not None:
            gold["soft_tags"] = torch.zeros(len(indices), n_tokens, self.soft_tags.shape[1])
            token_ends = self._read.token_ends
            for row, i in enumerate(indices):
                own = self.soft_tags[token_ends[i] : token_ends[i + 1]]
                gold["soft_tags"][row, : len(own)] = torch.from_numpy(own.astype(np.float32))
        return gold


def batch_order(
    lengths: np.ndarray, n_windows: np.ndarray, *, budget: int, seed: int | None, epoch: int
) -> list[np.ndarray]:
    """Numbers of the rows of every batch of an epoch, in order; `seed` None: by shape, not shuffled.

    `lengths` (rows,) int64 are the padded pieces of a window, `n_windows` (rows,) int64 the windows of a row,
    `budget` the pieces of a batch, padding included.
    """
    random = None if seed is None else np.random.default_rng((seed, epoch))
    n = len(lengths)
    if not n:
        return []
    order = np.arange(n) if random is None else random.permutation(n)
    order = order[np.lexsort((lengths[order], n_windows[order]))]
    batches, carried = [], order[:0]
    shapes = np.stack([n_windows[order], lengths[order]], axis=1)
    cuts = np.flatnonzero(np.any(shapes[1:] != shapes[:-1], axis=1)) + 1
    for group in np.split(order, cuts):
        group = np.concatenate([carried, group])
        last = group[-1]
        n_rows = max(1, budget // int(n_windows[last] * lengths[last]))
        # rows that do not fill a batch join the next longer group
        n_full = len(group) // n_rows * n_rows
        batches.extend(np.split(group[:n_full], range(n_rows, n_full, n_rows)) if n_full else [])
        carried = group[n_full:]
    if len(carried):
        batches.append(carried)
    if random is not None:
        batches = [batches[i] for i in random.permutation(len(batches))]
    return batches


def token_budget(examples: Examples, windows: Windows, batch_size: int) -> int:
    """Pieces of a batch: `batch_size` sentences of the mean window of these examples."""
    n_windows = windows.count(examples.n_pieces)
    cells = np.minimum(examples.n_pieces + 2, windows.max_len * n_windows)
    return max(windows.max_len, round(batch_size * float(cells.mean())))
