"""BERT's relatives: its body with other sizes, other sharing of layers, other names in a model file."""

import re
from dataclasses import dataclass
from typing import ClassVar

from ner.config import option, require
from ner.encoders.base import DROPOUT, SIZE, EncoderConfig
from ner.encoders.bert import ACTIVATIONS, Bert, BertConfig

LAYER_TENSOR = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)")  # in `Bert.state_dict()`
# a layer's part in `Bert.state_dict()` -> its name in a published file of ALBERT and of DistilBERT
PUBLISHED_PARTS = {
    "attention.self.query": ("attention.query", "attention.q_lin"),
    "attention.self.key": ("attention.key", "attention.k_lin"),
    "attention.self.value": ("attention.value", "attention.v_lin"),
    "attention.output.dense": ("attention.dense", "attention.out_lin"),
    "attention.output.LayerNorm": ("attention.LayerNorm", "sa_layer_norm"),
    "intermediate.dense": ("ffn", "ffn.lin1"),
    "output.dense": ("ffn_output", "ffn.lin2"),
    "output.LayerNorm": ("full_layer_layer_norm", "output_layer_norm"),
}


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(BertConfig):
    """BERT's keys and one more; the defaults are those of a published config.json, ELECTRA-small's."""

    embedding_size: int = option(128, **SIZE)
    "E, width of the embeddings before the linear map to H"
    hidden_size: int = option(256, **SIZE)
    num_attention_heads: int = option(4, **SIZE)
    intermediate_size: int = option(1024, **SIZE)


class Electra(Bert):
    """Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators".

    Its tensors have BERT's names.  Discriminators and generators open in the same way.
    """

    Config = ElectraConfig
    file_prefix = "electra"
    published_as = ("electra",)


@dataclass(frozen=True, kw_only=True)
class AlbertConfig(BertConfig):
    """BERT's keys and three more; the defaults are those of a published config.json, ALBERT-xxlarge's."""

    layer_counts: ClassVar = ("num_hidden_layers", "num_hidden_groups", "inner_group_num")
    has_projection: ClassVar = True
    "published files have the map from E to H even if both are equal"
    embedding_size: int = option(128, **SIZE)
    "E, width of the embeddings before the linear map to H"
    hidden_size: int = option(4096, **SIZE)
    num_attention_heads: int = option(64, **SIZE)
    intermediate_size: int = option(16384, **SIZE)
    num_hidden_groups: int = option(1, **SIZE)
    "groups of layers; each serves num_hidden_layers / num_hidden_groups consecutive steps"
    inner_group_num: int = option(1, **SIZE)
    "layers of a group; each step runs all of them"
    hidden_act: str = option("gelu_new", choices=ACTIVATIONS)
    hidden_dropout_prob: float = option(0.0, **DROPOUT)
    attention_probs_dropout_prob: float = option(0.0, **DROPOUT)

    def __post_init__(self) -> None:
        super().__post_init__()
        n_groups, n_steps = self.num_hidden_groups, self.num_hidden_layers
        require(n_groups <= n_steps, "num_hidden_groups", n_groups, f"at most num_hidden_layers ({n_steps})")

    @property
    def n_own_layers(self) -> int:
        return self.num_hidden_groups * self.inner_group_num

    @property
    def layer_order(self) -> tuple[int, ...]:
        """The layers of all groups are numbered consecutively."""
        n_inner, n_steps = self.inner_group_num, self.num_hidden_layers
        groups = (step * self.num_hidden_groups // n_steps for step in range(n_steps))
        return tuple(group * n_inner + inner for group in groups for inner in range(n_inner))


class Albert(Bert):
    """Lan et al. 2020, "ALBERT: A Lite BERT for Self-supervised Learning", section 3.1: shared layers.

    `depth_of` counts the layers that the file holds, not the number of times each is run.  Dropout follows
    the authors' code: after both halves of a layer; transformers has none after the second half.
    """

    Config = AlbertConfig
    file_prefix = "albert"
    published_as = ("albert",)
    classifier_dropout_key = "classifier_dropout_prob"

    def published_name(self, name: str) -> str:
        if not (found := LAYER_TENSOR.fullmatch(name)):
            return name.replace("embeddings_project.", "encoder.embedding_hidden_mapping_in.")
        group, inner = divmod(int(found[1]), self.config.inner_group_num)
        part = f"{PUBLISHED_PARTS[found[2]][0]}.{found[3]}"
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}.{part}"


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(EncoderConfig):
    """`BertConfig` under the names and with the defaults of a published config.json."""

    layer_counts: ClassVar = ("n_layers",)
    dim: int = option(768, **SIZE)
    "H, hidden width"
    n_layers: int = option(6, **SIZE)
    n_heads: int = option(12, **SIZE)
    "must divide dim"
    hidden_dim: int = option(3072, **SIZE)
    activation: str = option("gelu", choices=ACTIVATIONS)
    dropout: float = option(0.1, **DROPOUT)
    attention_dropout: float = option(0.1, **DROPOUT)
    max_position_embeddings: int = option(512, **SIZE)
    initializer_range: float = option(0.02, above=0, below=1)

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
    """Sanh et al. 2019, "DistilBERT, a distilled version of BERT".  It ignores `segment_ids`."""

    Config = DistilBertConfig
    file_prefix = "distilbert"
    published_as = ("distilbert",)

    def __init__(self, config: DistilBertConfig, *, vocab_size: int) -> None:
        super().__init__(config.as_bert(), vocab_size=vocab_size)
        self.config = config
        self.embeddings.token_type_embeddings = None
        for layer in self.encoder.layer:
            layer.attention.output.dropout.p = 0.0  # only the feed-forward half ends with dropout

    def published_name(self, name: str) -> str:
        found = LAYER_TENSOR.fullmatch(name)
        return f"transformer.layer.{found[1]}.{PUBLISHED_PARTS[found[2]][1]}.{found[3]}" if found else name
