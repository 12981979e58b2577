"""ALBERT: narrow embeddings, and few layers that a piece goes through again and again.

Lan et al. 2020, "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations",
section 3.1. Dropout stands where the authors' code has it, behind both halves of a layer; transformers
leaves out the second, which shows in training alone, and only where `hidden_dropout_prob` is not 0.
"""

from dataclasses import dataclass

from ner.encoders.bert import Bert, BertConfig, layer_part

PUBLISHED = {
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
    """BERT's keys and three more; the defaults are ALBERT-xxlarge's, as in a published config.json."""

    embedding_size: int = 128
    "E, numbers a piece before they are mapped to H"
    hidden_size: int = 4096
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    num_hidden_groups: int = 1
    "groups of layers; each serves a stretch of num_hidden_layers / num_hidden_groups steps"
    inner_group_num: int = 1
    "layers of a group, all of which every step goes through"
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_hidden_groups > self.num_hidden_layers:
            raise ValueError(
                f"num_hidden_groups: got {self.num_hidden_groups}, "
                f"expected at most num_hidden_layers ({self.num_hidden_layers})"
            )

    @property
    def has_projection(self) -> bool:
        """Published files have the map from E to H even where both are equal."""
        return True

    @property
    def layer_order(self) -> tuple[int, ...]:
        """The layers of all groups are numbered through."""
        n_inner = self.inner_group_num
        groups = (
            step * self.num_hidden_groups // self.num_hidden_layers for step in range(self.num_hidden_layers)
        )
        return tuple(group * n_inner + inner for group in groups for inner in range(n_inner))


class Albert(Bert):
    """`depth_of` counts the layers that the file holds, however often each is gone through."""

    Config = AlbertConfig
    file_prefix = "albert"

    def published_name(self, name: str) -> str:
        """The name in a file, without the prefix, of a tensor of `state_dict()`."""
        if name.startswith("embeddings_project."):
            return name.replace("embeddings_project", "encoder.embedding_hidden_mapping_in")
        if name.startswith("embeddings."):
            return name
        number, part, kind = layer_part(name)
        group, inner = divmod(number, self.config.inner_group_num)
        return f"encoder.albert_layer_groups.{group}.albert_layers.{inner}.{PUBLISHED[part]}.{kind}"
