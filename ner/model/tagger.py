"""The tagger: an encoder, one gather, a head."""

import torch
from torch import nn

from ner.data.batch import Batch
from ner.model.features import Features
from ner.runtime.devices import autocast


class Tagger(nn.Module):
    """An encoder, one gather, a head; `features` chooses what the head sees, None: the last layer.

    `max_cells` bounds the pieces of one encoder call: the windows of a very long text go through in
    slices.  `precision` is entered here, so that every replica of DataParallel has it.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, features: Features | None = None):
        super().__init__()
        self.encoder = encoder
        self.features = features
        self.head = head
        self.precision = "fp32"
        self.max_cells = 1 << 14

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Scores as the head makes them, and the loss (B,) in nats a sentence (None without gold)."""
        with autocast(batch.piece_ids.device.type, self.precision):
            scores = self.head.scores(self.encode(batch))
        return scores, None if batch.spans is None else self.head.loss(scores, batch)

    def encode(self, batch: Batch) -> torch.Tensor:
        """(B, T, W): what the head sees of the piece that speaks for each token; padding holds anything."""
        n_sentences, n_windows, n_pieces = batch.piece_ids.shape
        rows = max(1, self.max_cells // n_pieces)
        slices = zip(
            batch.piece_ids.view(-1, n_pieces).split(rows),
            batch.piece_mask.view(-1, n_pieces).split(rows),
            strict=True,
        )
        hidden = torch.cat([self._states(ids, mask) for ids, mask in slices])
        hidden = hidden.view(n_sentences, n_windows * n_pieces, -1)
        hidden = hidden.gather(1, batch.token_piece[..., None].expand(-1, -1, hidden.shape[2]))
        return hidden if self.features is None else self.features.read(hidden, batch.mask)

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.features is None:
            return self.encoder(ids, mask)
        return self.features.pick(self.encoder(ids, mask, layers=True))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def freeze_encoder(self) -> None:
        """Leaves the encoder as it is, dropout off, while the head is trained."""
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Tagger":
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self
