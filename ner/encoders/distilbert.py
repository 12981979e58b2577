"""DistilBERT: BERT with fewer layers and without segments, under names of its own.

Sanh et al. 2019, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter".
"""

from dataclasses import dataclass

from ner.encoders.bert import Bert, BertConfig, check_config, layer_part

PUBLISHED = {
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
class DistilBertConfig:
    """The sizes under the names of a published config.json, with its defaults."""

    dim: int = 768
    "H, numbers a piece"
    n_layers: int = 6
    n_heads: int = 12
    "must divide dim"
    hidden_dim: int = 3072
    "numbers a piece between the two halves of the feed-forward part"
    activation: str = "gelu"
    "one of ACTIVATIONS in bert.py"
    dropout: float = 0.1
    "share of a vector's numbers set to 0 in training"
    attention_dropout: float = 0.1
    "share of attention weights set to 0 in training"
    max_position_embeddings: int = 512
    "pieces a row, special pieces included"
    initializer_range: float = 0.02
    "standard deviation of random weights"

    def __post_init__(self) -> None:
        check_config(self, width="dim", n_heads="n_heads", activation="activation")

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


class DistilBert(Bert):
    """Takes `segment_ids` as every encoder does and does not use them."""

    Config = DistilBertConfig
    file_prefix = "distilbert"

    def __init__(self, config: DistilBertConfig, *, vocab_size: int) -> None:
        super().__init__(config.as_bert(), vocab_size=vocab_size)
        self.config = config
        self.embeddings.token_type_embeddings = None
        for layer in self.encoder.layer:
            layer.attention.output.dropout.p = 0.0  # the feed-forward half alone has dropout at its end

    def published_name(self, name: str) -> str:
        """The name in a file, without the prefix, of a tensor of `state_dict()`."""
        if name.startswith("embeddings."):
            return name
        number, part, kind = layer_part(name)
        return f"transformer.layer.{number}.{PUBLISHED[part]}.{kind}"
