"""What a model sees of the data.

Axes: B sentences, N windows a sentence, P pieces a window, T tokens of whole sentences.
"""

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """Tensors with the sentence first, so that splitting a batch is slicing.

    piece_ids   (B, N, P) int64; padding holds the padding piece
    piece_mask  (B, N, P) bool, True = real (special pieces too), contiguous from 0 in every window
    token_piece (B, T)    int64, which of the sentence's N*P cells is read for the token; padding holds 0
    mask        (B, T)    bool, True = real, contiguous from 0, at least one token a sentence
    gold        gold by the name of its annotation, each tensor sentence first, as `collate` in
                `ner.annotations` makes it; empty: no gold.  `soft_tags` (B, T, K) float32 are a teacher's
                probabilities of the K tags; padding holds 0
    blank       (B, T)    bool, True = nothing of the token is visible, so no entity begins or ends there;
                padding holds False; None: no token is blank
    """

    piece_ids: torch.Tensor
    piece_mask: torch.Tensor
    token_piece: torch.Tensor
    mask: torch.Tensor
    gold: dict[str, torch.Tensor]
    blank: torch.Tensor | None = None

    @property
    def n_tokens(self) -> int:
        return int(self.mask.sum())

    def to(self, device: torch.device | str) -> "Batch":
        *tensors, gold, blank = self
        moved = (tensor.to(device, non_blocking=True) for tensor in tensors)
        gold = {name: tensor.to(device, non_blocking=True) for name, tensor in gold.items()}
        return Batch(*moved, gold, blank)
