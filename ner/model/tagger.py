"""The tagger: an encoder, one gather, a head."""

import torch
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.heads.base import Head, Hidden
from ner.model.features import Features
from ner.runtime.devices import autocast


class Tagger(nn.Module):
    """An encoder, one gather, a head.

    `features` chooses which encoder layers the head sees; None: the last one.  `max_cells` bounds the pieces
    of one encoder call: the windows of a very long text are encoded in slices.  `precision` is entered in
    `forward`, so that every replica of DataParallel has it.
    """

    def __init__(self, encoder: nn.Module, head: Head, features: Features | None = None):
        super().__init__()
        self.encoder = encoder
        self.features = features
        self.head = head
        self.precision = "fp32"
        self.max_cells = 1 << 14

    def place(
        self, device: torch.device, *, precision: str = "fp32", max_cells: int | None = None
    ) -> "Tagger":
        """Moves the tagger to a device and sets how it computes; `max_cells` None: as before."""
        self.precision = precision
        self.max_cells = max_cells or self.max_cells
        return self.to(device)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Scores as the head makes them, and the loss (B,) in nats a sentence (None without gold)."""
        with autocast(batch.piece_ids.device.type, self.precision):
            scores = self.head.scores(self.encode(batch), batch.mask)
        return scores, self.head.loss(scores, batch) if batch.gold else None

    def encode(self, batch: Batch) -> Hidden:
        """What the head sees: windows encoded as rows, then one gather of the piece of each token."""
        n_sentences, n_windows, n_pieces = batch.piece_ids.shape
        n_rows = max(1, self.max_cells // n_pieces)
        slices = zip(
            batch.piece_ids.view(-1, n_pieces).split(n_rows),  # (B * N, P) -> slices of (n_rows, P)
            batch.piece_mask.view(-1, n_pieces).split(n_rows),
            strict=True,
        )
        states = torch.cat([self._states(ids, mask) for ids, mask in slices])  # (B * N, P, H)
        states = states.view(n_sentences, n_windows * n_pieces, -1)  # (B, N * P, H)
        tokens = states.gather(1, batch.token_piece[..., None].expand(-1, -1, states.shape[2]))  # (B, T, H)
        if self.features is not None:
            tokens = self.features.read(tokens, batch.mask)  # (B, T, W)
        cls = states.view(n_sentences, n_windows, n_pieces, -1)[:, :, 0]  # (B, N, H)
        return Hidden(tokens, cls, batch.piece_mask[:, :, 0])

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.features is None:
            return self.encoder(ids, mask)
        return self.features.pick(self.encoder(ids, mask, layers=True))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def width(self) -> int:
        """W, numbers of a token's hidden state."""
        return self.features.width if self.features else self.encoder.width

    def freeze_encoder(self) -> None:
        """Trains the head only: the encoder gets no gradient and no dropout."""
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Tagger":
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self
