"""ALBERT: narrow embeddings, and few layers that every piece passes through several times.

Lan et al. 2020, "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations",
section 3.1. Dropout follows the authors' code: after both halves of a layer. transformers has none after the
second half; the difference shows only in training, and only if `hidden_dropout_prob` is not 0.
"""

from dataclasses import dataclass
from typing import ClassVar

from ner.config import option, require
from ner.encoders.base import DROPOUT, SIZE
from ner.encoders.bert import Bert, layer_part
from ner.encoders.bert_config import ACTIVATIONS, BertConfig

# name of a layer's part in `Bert.state_dict()` -> its name in a published file
PUBLISHED_PARTS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.dense",
    "attention.output.LayerNorm": "attention.LayerNorm",
    "intermediate.dense": "ffn",
    "output.dense": "ffn_output",
    "output.LayerNorm": "full_layer_layer_norm",
}


@dataclass(frozen=True, kw_only=True)
class AlbertConfig(BertConfig):
    """BERT's keys and three more; the defaults are those of a published config.json, ALBERT-xxlarge's."""

    layer_counts: ClassVar = ("num_hidden_layers", "num_hidden_groups", "inner_group_num")
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
        expected = f"at most num_hidden_layers ({n_steps})"
        require(n_groups <= n_steps, "num_hidden_groups", n_groups, expected)

    @property
    def has_projection(self) -> bool:
        """True: published files have the map from E to H even if both are equal."""
        return True

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
    """`depth_of` counts the layers that the file holds, not the number of times each is run."""

    Config = AlbertConfig
    file_prefix = "albert"
    published_as = ("albert",)
    classifier_dropout_key = "classifier_dropout_prob"
    can_pretrain = False

    def published_name(self, name: str) -> str:
        if name.startswith("embeddings_project."):
            return name.replace("embeddings_project", "encoder.embedding_hidden_mapping_in")
        if name.startswith("embeddings."):
            return name
        number, part, kind = layer_part(name)
        group, inner = divmod(number, self.config.inner_group_num)
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}.{PUBLISHED_PARTS[part]}.{kind}"
