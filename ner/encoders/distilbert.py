"""DistilBERT: BERT with fewer layers and without segments; its config and files have names of their own.

Sanh et al. 2019, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter".
"""

from dataclasses import dataclass
from typing import ClassVar

from ner.config import option, require
from ner.encoders.base import DROPOUT, SIZE, EncoderConfig
from ner.encoders.bert import Bert, layer_part
from ner.encoders.bert_config import ACTIVATIONS, BertConfig

# name of a layer's part in `Bert.state_dict()` -> its name in a published file
PUBLISHED_PARTS = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(EncoderConfig):
    """The sizes under the names and with the defaults of a published config.json."""

    layer_counts: ClassVar = ("n_layers",)
    dim: int = option(768, **SIZE)
    "H, hidden width"
    n_layers: int = option(6, **SIZE)
    n_heads: int = option(12, **SIZE)
    "must divide dim"
    hidden_dim: int = option(3072, **SIZE)
    "width between the two maps of the feed-forward half"
    activation: str = option("gelu", choices=ACTIVATIONS)
    dropout: float = option(0.1, **DROPOUT)
    "share of a vector's numbers set to 0 in training"
    attention_dropout: float = option(0.1, **DROPOUT)
    "share of attention weights set to 0 in training"
    max_position_embeddings: int = option(512, **SIZE)
    "pieces a row, special pieces included"
    initializer_range: float = option(0.02, above=0, below=1)
    "standard deviation of random weights"

    def __post_init__(self) -> None:
        super().__post_init__()
        width, n_heads = self.dim, self.n_heads
        require(width % n_heads == 0, "dim", width, f"a multiple of n_heads ({n_heads})")

    def as_bert(self) -> BertConfig:
        """The same sizes under BERT's names."""
        return BertConfig(
            hidden_size=self.dim,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            intermediate_size=self.hidden_dim,
            hidden_act=self.activation,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.attention_dropout,
            max_position_embeddings=self.max_position_embeddings,
            initializer_range=self.initializer_range,
        )

    def n_numbers(self, vocab_size: int) -> int:
        body = self.as_bert()
        return body.n_numbers(vocab_size) - body.type_vocab_size * self.dim  # no segments


class DistilBert(Bert):
    """Accepts `segment_ids`, as every encoder does, and ignores them."""

    Config = DistilBertConfig
    file_prefix = "distilbert"
    published_as = ("distilbert",)
    can_pretrain = False

    def __init__(self, config: DistilBertConfig, *, vocab_size: int) -> None:
        super().__init__(config.as_bert(), vocab_size=vocab_size)
        self.config = config
        self.embeddings.token_type_embeddings = None
        for layer in self.encoder.layer:
            layer.attention.output.dropout.p = 0.0  # only the feed-forward half ends with dropout

    @property
    def has_dropout(self) -> bool:
        return self.config.dropout > 0 or self.config.attention_dropout > 0

    def published_name(self, name: str) -> str:
        if name.startswith("embeddings."):
            return name
        number, part, kind = layer_part(name)
        return f"transformer.layer.{number}.{PUBLISHED_PARTS[part]}.{kind}"
