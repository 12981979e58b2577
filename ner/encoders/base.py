"""What every encoder is.  Axes: R rows, P pieces, H hidden width."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from ner.config import Options
from ner.data.tokenizer import WordPiece
from ner.errors import DataError

# Bounds that many options share.  Sizes have an upper one, so that an error can print the product of several.
SIZE = {"low": 1, "high": 2**31 - 1}
DROPOUT = {"low": 0, "below": 1}


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Options):
    """Base of the options of an encoder.  The size of the vocabulary is a fact of the data, not an option."""

    layer_counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers",)
    "options that count layers; none may be larger than the number of tensors in a model file"

    def n_numbers(self, vocab_size: int) -> int:
        """How many numbers the encoder's `state_dict()` has, computed without building the encoder."""
        raise NotImplementedError


class Encoder(nn.Module, ABC):
    """Rows of pieces in, one vector for every piece out.  `Encoder(config, *, vocab_size)` is random."""

    Config: ClassVar[type[EncoderConfig]]
    "the options of this encoder"
    file_prefix: ClassVar[str]
    "first part of its tensors' names in a model file, and its name in `ENCODERS`"
    published_as: ClassVar[tuple[str, ...]] = ()
    "values of `model_type` in published configs; empty: there are no published weights"
    classifier_dropout_key: ClassVar[str] = "classifier_dropout"
    "key of a published config for the dropout before the classifier"
    can_compile: ClassVar[bool] = False
    "true: torch.compile gains speed and gives the same results"

    config: EncoderConfig
    vocab_size: int
    width: int
    "H"
    n_layers: int
    "layers that `forward` runs, counted each time"
    max_positions: int | None = None
    "the most pieces a row may have, special pieces included; None: any number"

    @abstractmethod
    def forward(
        self,
        piece_ids: Tensor,
        piece_mask: Tensor,
        segment_ids: Tensor | None = None,
        *,
        layers: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Encodes rows of pieces.

        piece_ids    (R, P)    int64  special pieces included; any piece of the vocabulary at padding
        piece_mask   (R, P)    bool   True = real, contiguous from 0; a row may be all padding
        segment_ids  (R, P)    int64  None = segment 0 everywhere
        returns      (R, P, H) float  finite everywhere, meaningless at padding
        With `layers`, returns a tuple: the embeddings, then the output of every layer.
        """

    @abstractmethod
    def depth_of(self, parameter_name: str) -> int:
        """0 for the embeddings, i + 1 for layer i: for learning rates and freezing that depend on depth."""

    @property
    @abstractmethod
    def word_embeddings(self) -> nn.Embedding:
        """The table with one row for each piece of the vocabulary."""

    @property
    def has_dropout(self) -> bool:
        """True if two passes over the same rows differ in training."""
        return any(module.p > 0 for module in self.modules() if isinstance(module, nn.Dropout))

    def published_name(self, name: str) -> str:
        """The name in a model file, without the prefix, of a tensor of `state_dict()`."""
        return name

    def published_tensors(self) -> dict[str, Tensor]:
        """The tensors of `state_dict()` under their names in a model file, without the prefix."""
        return {self.published_name(name): tensor for name, tensor in self.state_dict().items()}

    def prepare(self, tokenizer: WordPiece, pieces: np.ndarray) -> None:
        """Learns from the training text before training begins; pieces (N,) int, end to end."""

    def recompute(self, where: str = "params") -> None:
        """Recomputes activations in the backward pass from now on; DataError if the encoder cannot.

        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".  `where` begins the error's line.
        """
        expected = f"expected false with encoder {self.file_prefix!r}"
        raise DataError(f"{where}: activation_checkpointing: got True, {expected}")
