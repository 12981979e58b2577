"""The options of BERT, under the names of a published config.json."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from ner.config import option, require
from ner.encoders.base import DROPOUT, SIZE, EncoderConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True, kw_only=True)
class BertConfig(EncoderConfig):
    """BERT's sizes under the names of a published config.json; the defaults are BERT-base's."""

    hidden_size: int = option(768, **SIZE)
    "H, hidden width"
    num_hidden_layers: int = option(12, **SIZE)
    num_attention_heads: int = option(12, **SIZE)
    "must divide hidden_size"
    intermediate_size: int = option(3072, **SIZE)
    "width between the two maps of the feed-forward half"
    hidden_act: str = option("gelu", choices=ACTIVATIONS)
    hidden_dropout_prob: float = option(0.1, **DROPOUT)
    "share of a vector's numbers set to 0 in training"
    attention_probs_dropout_prob: float = option(0.1, **DROPOUT)
    "share of attention weights set to 0 in training"
    max_position_embeddings: int = option(512, **SIZE)
    "pieces a row, special pieces included"
    type_vocab_size: int = option(2, **SIZE)
    "segments"
    layer_norm_eps: float = option(1e-12, above=0, below=1)
    initializer_range: float = option(0.02, above=0, below=1)
    "standard deviation of random weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        width, n_heads = self.hidden_size, self.num_attention_heads
        require(width % n_heads == 0, "hidden_size", width, f"a multiple of num_attention_heads ({n_heads})")

    @property
    def embedding_size(self) -> int:
        """E; if it is not H, a linear map leads from E to H."""
        return self.hidden_size

    @property
    def has_projection(self) -> bool:
        return self.embedding_size != self.hidden_size

    @property
    def n_own_layers(self) -> int:
        """How many layers have weights of their own."""
        return self.num_hidden_layers

    @property
    def layer_order(self) -> tuple[int, ...]:
        """Numbers of the layers that every piece passes through, in order."""
        return tuple(range(self.num_hidden_layers))

    def n_numbers(self, vocab_size: int) -> int:
        width, inner, narrow = self.hidden_size, self.intermediate_size, self.embedding_size
        norm = 2 * width
        attention = 4 * (width * width + width) + norm
        feed_forward = width * inner + inner + inner * width + width + norm
        n_rows = vocab_size + self.max_position_embeddings + self.type_vocab_size
        embeddings = (n_rows + 2) * narrow
        projection = narrow * width + width if self.has_projection else 0
        return embeddings + projection + self.n_own_layers * (attention + feed_forward)
