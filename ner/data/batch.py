"""What a model needs to know of data, and nothing more.

Axes: B sentences, N windows a sentence, P pieces a window, T tokens of whole sentences, S gold spans, K tags.
"""

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """Tensors, each with the sentence first, so that splitting a batch is slicing.

    piece_ids   (B, N, P) int64; padding holds the padding piece
    piece_mask  (B, N, P) bool, True = real (specials included), contiguous from 0 in every window
    token_piece (B, T) int64, which of the sentence's N*P cells speaks for the token; padding holds 0
    mask        (B, T) bool, True = real, contiguous from 0, at least one a sentence
    spans       (B, S, 3) int64, gold as (start, end, label number), padded by the empty span (0, 0, 0);
                None where there is no annotation
    soft        (B, T, K) float32, a teacher's probabilities of the tags; padding holds 0; None without one
    """

    piece_ids: torch.Tensor
    piece_mask: torch.Tensor
    token_piece: torch.Tensor
    mask: torch.Tensor
    spans: torch.Tensor | None
    soft: torch.Tensor | None = None

    @property
    def n_tokens(self) -> int:
        return int(self.mask.sum())

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(*(None if t is None else t.to(device, non_blocking=True) for t in self))
