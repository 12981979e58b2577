"""The tagger, what it needs to tag text, and which of its parameters learn.

Depth in the encoder: 0 is the embeddings, i + 1 is layer i.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ner.data.batch import Batch
from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows
from ner.data.word_rules import WordRules
from ner.heads.base import Head, Hidden
from ner.model.features import Features
from ner.runtime.devices import autocast
from ner.tags import TagSet


class Tagger(nn.Module):
    """An encoder, one gather, a head; `features` None: the head sees the last layer.

    `max_cells` bounds the pieces of one encoder call: the windows of a very long text are encoded in slices.
    `precision` is entered in `forward`, so that every replica of DataParallel has it.
    """

    def __init__(self, encoder: nn.Module, head: Head, features: Features | None = None):
        super().__init__()
        self.encoder, self.features, self.head = encoder, features, head
        self.precision, self.max_cells = "fp32", 1 << 14

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
        # (B * N, P) -> slices of (n_rows, P)
        parts = (rows.view(-1, n_pieces).split(n_rows) for rows in (batch.piece_ids, batch.piece_mask))
        slices = zip(*parts, strict=True)
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

    def train(self, mode: bool = True) -> "Tagger":
        """An encoder that is frozen as a whole has no dropout either."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self


@dataclass(frozen=True)
class Model:
    """A tagger and the facts that it cannot be used without."""

    tagger: Tagger
    tokenizer: WordPiece
    unit: str
    "char or word: how raw text is cut into tokens"
    max_len: int
    "pieces a window, special pieces included"
    report: tuple[str, ...] = ()
    "lines for the log about how it was opened"
    long_text: str = "windows"
    "what happens to pieces beyond a window, a name in `LONG_TEXT`"
    scheme_from: str = "config"
    "what the scheme of the tags comes from: config, option, or a guess from their names"
    notes: tuple[str, ...] = ()
    "lines of the report about what was not used or assumed"
    words: WordRules | None = None
    "how raw text is cut into words, learned from train's tokens; None: by the general rules"

    @property
    def windows(self) -> Windows:
        return Windows(self.max_len, long_text=self.long_text)

    @property
    def tag_set(self) -> TagSet:
        return self.tagger.head.tag_set


def n_layers_of(tagger: Tagger) -> int:
    """The depth of the highest layer that the head sees."""
    highest = max(tagger.encoder.depth_of(name) for name, _ in tagger.encoder.named_parameters())
    return highest if tagger.features is None else min(highest, tagger.features.chosen[-1])


def train_from(tagger: Tagger, depth: int) -> None:
    """Lets the encoder learn from `depth` up to the highest layer that the head sees; the rest is fixed."""
    highest = n_layers_of(tagger)
    for name, parameter in tagger.encoder.named_parameters():
        parameter.requires_grad_(depth <= tagger.encoder.depth_of(name) <= highest)


def unfrozen_depth(epoch: int, *, n_layers: int, every: int, frozen: int) -> int:
    """The depth from which the encoder learns in an epoch (from 0): gradual unfreezing.

    Howard and Ruder 2018, section 3.3: at first only the head learns; after each `every` epochs the next
    layer below joins, the embeddings last.  The lowest `frozen` depths never join.  `every` 0: all others
    learn from the start.
    """
    return max(frozen, n_layers + 1 - epoch // every) if every else frozen
