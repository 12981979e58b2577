"""Dynamic masking: the pieces that a model has to guess are drawn anew each time a row is seen.

Devlin et al. 2019 hide 15% of the pieces: 80% of them become `[MASK]`, 10% another piece, 10% stay.
A masking unit, the pieces that are hidden together, is

- `token`: one piece (Devlin et al. 2019),
- `word`: a word with all its continuation pieces, `##...` (whole-word masking, the second release of
  BERT; Cui et al. 2019 for Chinese); the same as `token` if every character is a word,
- `span`: up to `max_span` neighbouring words, their number n drawn with probability proportional to
  p (1 - p)^(n - 1), p = 0.2 (Joshi et al. 2020, SpanBERT, with at most 10).  With at most 4, the
  default here, the probabilities are 34, 27, 22 and 17%, near MacBERT's 40, 30, 20 and 10 (Cui et al. 2020).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ner.data.tokenizer import CLS, MASK, PAD, SEP, UNK, WordPiece
from ner.errors import DataError

NO_TAG = 0
MASKING_UNITS = ("token", "word", "span")
GEOMETRIC_P = 0.2
SHARE_MASKED, SHARE_RANDOM = 0.8, 0.1  # the other pieces stay


class PieceKinds(NamedTuple):
    """What masking needs to know about a vocabulary of V pieces.

    special    (V,) bool, never hidden: [PAD], [UNK], [CLS], [SEP], [MASK]
    continues  (V,) bool, part of the word before it
    ordinary   (V - specials,) int64, the pieces that are not special
    mask_id    the piece that hides another
    """

    special: Tensor
    continues: Tensor
    ordinary: Tensor
    mask_id: int


class MaskedBatch(NamedTuple):
    """What a step needs, on the CPU.

    piece_ids   (R, P) int64, with M pieces hidden; padding holds [PAD]
    piece_mask  (R, P) bool, True = real, special pieces included, contiguous from 0
    places      (M,) int64, row * P + column of every cell to guess, rising
    labels      (M,) int64, the hidden pieces
    tags        (R, P) int64, k + 1 for tag k of the text's tag names, NO_TAG for a piece without a tag;
                None if the text has no tags
    n_pieces    ordinary pieces of the batch, hidden or not
    """

    piece_ids: Tensor
    piece_mask: Tensor
    places: Tensor
    labels: Tensor
    tags: Tensor | None
    n_pieces: int

    def inputs(self, device: torch.device | str) -> tuple[Tensor | None, ...]:
        """The tensors in order, on the device."""
        return tuple(x if x is None else x.to(device, non_blocking=True) for x in self[:5])

    def without_targets(self) -> "MaskedBatch":
        """The same rows with nothing to guess; they count no pieces."""
        tags = None if self.tags is None else torch.full_like(self.tags, NO_TAG)
        return self._replace(places=self.places[:0], labels=self.labels[:0], tags=tags, n_pieces=0)

    @property
    def n_tags(self) -> int:
        return 0 if self.tags is None else int((self.tags != NO_TAG).sum())


def piece_kinds(tokenizer: WordPiece) -> PieceKinds:
    """The kinds of a vocabulary's pieces; DataError without [MASK]."""
    if MASK not in tokenizer.index:
        raise DataError(f"vocabulary without {MASK}, expected one made for masked language modelling")
    pieces = tokenizer.vocabulary
    special = torch.tensor([piece in (PAD, UNK, CLS, SEP, MASK) for piece in pieces])
    continues = torch.tensor([piece.startswith("##") for piece in pieces])
    return PieceKinds(special, continues, (~special).nonzero().flatten(), tokenizer.index[MASK])


def mask_pieces(
    piece_ids: Tensor,
    piece_mask: Tensor,
    kinds: PieceKinds,
    *,
    generator: torch.Generator,
    masking: str = "token",
    rate: float = 0.15,
    max_span: int = 4,
) -> MaskedBatch:
    """Chooses whole units at random until `rate` of the batch's ordinary pieces are chosen, and hides them.

    piece_ids   (R, P) int64; padding holds any piece
    piece_mask  (R, P) bool, True = real

    The last unit is taken if its middle lies within the budget, so the mean rate is exact.  At least one unit
    is taken.  A unit never crosses a special piece or the end of a row.
    """
    cells = (piece_mask & ~kinds.special[piece_ids]).flatten().nonzero().flatten()
    if not len(cells):
        return MaskedBatch(piece_ids.clone(), piece_mask, cells, cells.clone(), None, 0)
    ids = piece_ids.flatten()[cells]
    joined = torch.zeros_like(cells, dtype=torch.bool)  # adjacent to the cell before
    joined[1:] = (cells[1:] == cells[:-1] + 1) & (cells[1:] % piece_ids.shape[1] != 0)
    unit = _units(ids, joined, kinds, masking, max_span, generator)
    sizes = torch.bincount(unit)
    order = torch.randperm(len(sizes), generator=generator)
    middles = sizes[order].cumsum(0) - sizes[order] / 2
    taken = torch.zeros(len(sizes), dtype=torch.bool)
    taken[order] = middles < rate * len(cells)
    taken[order[0]] = True
    places = cells[taken[unit]]
    labels = piece_ids.flatten()[places]
    draw = torch.rand(len(places), generator=generator)
    other = kinds.ordinary[torch.randint(len(kinds.ordinary), (len(places),), generator=generator)]
    new = torch.where(draw < SHARE_MASKED, kinds.mask_id, labels)
    new = torch.where((draw >= SHARE_MASKED) & (draw < SHARE_MASKED + SHARE_RANDOM), other, new)
    hidden = piece_ids.flatten().scatter(0, places, new).view_as(piece_ids)
    return MaskedBatch(hidden, piece_mask, places, labels, None, len(cells))


def _units(ids, joined, kinds: PieceKinds, masking: str, max_span: int, generator) -> Tensor:
    """The unit of each cell, (cells,) int64, rising from 0."""
    if masking == "token":
        return torch.arange(len(ids))
    begins_word = ~(joined & kinds.continues[ids])
    word = begins_word.cumsum(0) - 1
    if masking == "word":
        return word
    if masking != "span":
        raise ValueError(f"masking: got {masking!r}, expected one of {', '.join(MASKING_UNITS)}")
    # The whole text is cut into spans of the drawn lengths; the hidden ones are chosen later.
    n_words = int(word[-1]) + 1
    weights = (1 - GEOMETRIC_P) ** torch.arange(max_span)
    lengths = torch.multinomial(weights, n_words, replacement=True, generator=generator) + 1
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    begins_span = torch.zeros(n_words, dtype=torch.bool)
    begins_span[starts[starts < n_words]] = True
    return (~joined | (begins_word & begins_span[word])).cumsum(0) - 1
