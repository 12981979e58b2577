"""From tokenised lines to masked batches: which lines are held out, and how lines are packed into rows.

The batches of an epoch are a pure function of (seed, epoch), so a run can be resumed anywhere.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ner.data.batches import batch_order
from ner.data.tokenizer import WordPiece
from ner.data.windows import rounded
from ner.pretraining.masking import NO_TAG, MaskedBatch, mask_pieces, piece_kinds
from ner.pretraining.params import PretrainConfig
from ner.pretraining.plaintext import TokenizedText

HELD_OUT_EVERY, MIN_HELD_OUT = 200, 20


def hold_out(n_lines: int) -> tuple[np.ndarray, np.ndarray]:
    """Line numbers for training, and held-out line numbers: every 200th, more often in a short text.

    ValueError for fewer than two lines.
    """
    if n_lines < 2:
        raise ValueError(f"got {n_lines} lines, expected at least 2: one is held out")
    n_held_out = max(1, min(max(n_lines // HELD_OUT_EVERY, MIN_HELD_OUT), n_lines // 10))
    every = n_lines // n_held_out
    held_out = np.arange(every - 1, n_lines, every)
    return np.setdiff1d(np.arange(n_lines), held_out, assume_unique=True), held_out


class Stream:
    """Chosen lines of a text end to end, as if the text had no others."""

    def __init__(self, text: TokenizedText, lines: np.ndarray):
        self._text = text
        starts = text.line_ends[lines]
        self.lengths = text.line_ends[lines + 1] - starts
        self.ends = np.cumsum(self.lengths)
        self._shift = starts - (self.ends - self.lengths)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Pieces and tags at the positions, in the text's dtypes; tags None for a text without tags."""
        places = positions + self._shift[np.searchsorted(self.ends, positions, side="right")]
        tags = self._text.tags
        return self._text.pieces[places], None if tags is None else tags[places]


class Rows(NamedTuple):
    """Row i is [CLS] and the cells `starts[i]` to `starts[i] + lengths[i]` of a stream, [SEP] included."""

    starts: np.ndarray
    lengths: np.ndarray


def block_rows(stream: Stream, block_len: int, offset: int = 0) -> Rows:
    """Rows of `block_len` with [CLS].  The first has `offset` cells unless that is 0, the last the rest."""
    starts = np.arange(offset, len(stream), block_len - 1)
    starts = np.concatenate([[0], starts]) if offset else starts
    return Rows(starts, np.diff(starts, append=len(stream)))


def line_rows(stream: Stream, block_len: int) -> Rows:
    """One row for each line; a line too long for a row becomes as few rows as possible, of even length."""
    n_rows = -(-(stream.lengths - 1) // (block_len - 2))
    line = np.repeat(np.arange(len(n_rows)), n_rows)
    part = np.arange(len(line)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    first = (stream.ends - stream.lengths)[line]
    starts = first + part * stream.lengths[line] // n_rows[line]
    ends = first + (part + 1) * stream.lengths[line] // n_rows[line]
    return Rows(starts, ends - starts)


class MaskedLoader:
    """Masked batches of chosen lines, at most `batch_tokens` cells each, padding and special pieces included.

    With a `seed`, each epoch shuffles the rows, draws new masks and moves the cuts between blocks.  Without a
    seed, rows are sorted by length and the masks are always the same, for evaluation.
    """

    def __init__(
        self, stream: Stream, tokenizer: WordPiece, config: PretrainConfig, *, seed: int | None = None
    ):
        self.stream, self.tokenizer, self.config, self.seed = stream, tokenizer, config, seed
        self.kinds = piece_kinds(tokenizer)

    def rows(self, epoch: int) -> Rows:
        block_len = self.config.block_len
        if self.config.packing == "lines":
            return line_rows(self.stream, block_len)
        offset = 0 if self.seed is None else int(self._random(epoch, "cuts").integers(block_len - 1))
        return block_rows(self.stream, block_len, min(offset, len(self.stream) - 1))

    def epoch(self, epoch: int) -> list[Callable[[], MaskedBatch]]:
        """A function for each batch of an epoch, which makes the same batch every time."""
        rows = self.rows(epoch)
        widths, ones = self._widths(rows.lengths), np.ones(len(rows.starts), np.int64)
        budget = self.config.batch_tokens
        order = batch_order(widths, ones, budget=budget, seed=self.seed, epoch=epoch)
        return [partial(self.batch, rows, indices, epoch, number) for number, indices in enumerate(order)]

    def _widths(self, lengths: np.ndarray) -> np.ndarray:
        """Padded cells of rows of these lengths, [CLS] included."""
        return np.minimum(rounded(lengths + 1), self.config.block_len)

    def batch(self, rows: Rows, indices: Sequence[int], epoch: int, number: int) -> MaskedBatch:
        """Batch `number` of an epoch: pads the rows at the indices, and masks them."""
        starts, lengths = rows.starts[indices], rows.lengths[indices]
        width = int(self._widths(lengths.max()))
        cells = np.arange(width - 1)
        real = cells < lengths[:, None]
        piece_ids = np.full((len(starts), width), self.tokenizer.pad_id, dtype=np.int64)
        piece_ids[:, 0] = self.tokenizer.cls_id
        pieces, tags = self.stream.read((starts[:, None] + cells)[real])
        piece_ids[:, 1:][real] = pieces
        piece_mask = np.arange(width) <= lengths[:, None]
        seed = int(self._random(epoch, "masks", number).integers(1 << 62))
        masked = mask_pieces(
            torch.from_numpy(piece_ids),
            torch.from_numpy(piece_mask),
            self.kinds,
            generator=torch.Generator().manual_seed(seed),
            masking=self.config.masking,
            rate=self.config.mask_rate,
            max_span=self.config.max_span,
        )
        if tags is None:
            return masked
        padded = np.full_like(piece_ids, NO_TAG)
        padded[:, 1:][real] = tags
        return masked._replace(tags=torch.from_numpy(padded))

    def _random(self, epoch: int, purpose: str, number: int = 0) -> np.random.Generator:
        key = (0, 0) if self.seed is None else (1 + self.seed, epoch)
        return np.random.default_rng((*key, ("cuts", "masks").index(purpose), number))
