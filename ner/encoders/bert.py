"""BERT in plain torch, read from the bottom up: embeddings, attention, layer, encoder.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding". The attributes are named so that `Bert.state_dict()` bears the published names.
Its relatives (electra.py, albert.py, distilbert.py) are subclasses of `Bert`: the same body with
other sizes, other sharing of layers, and names of their own in a file.
Axes: R rows, P pieces, E width of the embeddings, H hidden width, N attention heads, D = H / N.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ner.layers.attention import attention, key_bias
from ner.layers.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """BERT's sizes under the names of a published config.json; the defaults are BERT-base's."""

    hidden_size: int = 768
    "H, numbers a piece"
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    "must divide hidden_size"
    intermediate_size: int = 3072
    "numbers a piece between the two halves of the feed-forward part"
    hidden_act: str = "gelu"
    "one of ACTIVATIONS"
    hidden_dropout_prob: float = 0.1
    "share of a vector's numbers set to 0 in training"
    attention_probs_dropout_prob: float = 0.1
    "share of attention weights set to 0 in training"
    max_position_embeddings: int = 512
    "pieces a row, special pieces included"
    type_vocab_size: int = 2
    "segments"
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    "standard deviation of random weights"

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def embedding_size(self) -> int:
        """E; where it is not H, a linear map leads from one to the other."""
        return self.hidden_size

    @property
    def has_projection(self) -> bool:
        return self.embedding_size != self.hidden_size

    @property
    def layer_order(self) -> tuple[int, ...]:
        """Numbers of the layers that a piece goes through, one after the other."""
        return tuple(range(self.num_hidden_layers))


def check_config(
    config: Any,
    *,
    width: str = "hidden_size",
    n_heads: str = "num_attention_heads",
    activation: str = "hidden_act",
) -> None:
    """Refuses what no encoder of the family can have; the names are those that the config has for them.

    Every whole number is above 0; a number is a share in [0, 1) if it is a dropout's, else in (0, 1).
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is int and (type(value) is not int or value < 1):
            raise ValueError(f"{field.name}: got {value!r}, expected a whole number above 0")
        if field.type is float and type(value) not in (int, float):
            raise ValueError(f"{field.name}: got {value!r}, expected a number")
        if field.type is float and "dropout" in field.name and not 0 <= value < 1:
            raise ValueError(f"{field.name}: got {value!r}, expected 0 <= p < 1")
        if field.type is float and "dropout" not in field.name and not 0 < value < 1:
            raise ValueError(f"{field.name}: got {value!r}, expected 0 < x < 1")
    if getattr(config, width) % getattr(config, n_heads):
        raise ValueError(
            f"{width}: got {getattr(config, width)}, expected a multiple of "
            f"{n_heads} ({getattr(config, n_heads)})"
        )
    if getattr(config, activation) not in list(ACTIVATIONS):
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"{activation}: got {getattr(config, activation)!r}, expected one of {known}")


class Embeddings(nn.Module):
    def __init__(self, config: BertConfig, vocab_size: int) -> None:
        super().__init__()
        width = config.embedding_size
        self.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, piece_ids: Tensor, segment_ids: Tensor | None) -> Tensor:
        # Positions are 0, 1, 2, ... in every row: a slice, and a cheaper gradient, not a lookup.
        position = self.position_embeddings.weight[: piece_ids.shape[1]]
        if self.token_type_embeddings is None:
            hidden = self.word_embeddings(piece_ids) + position
        elif segment_ids is None:
            hidden = self.word_embeddings(piece_ids) + (position + self.token_type_embeddings.weight[0])
        else:
            segment = self.token_type_embeddings(segment_ids)
            hidden = self.word_embeddings(piece_ids) + segment + position
        return self.dropout(self.LayerNorm(hidden))


class SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.dropout_prob = config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        hidden = hidden.to(product_dtype(self.query.weight))  # once, not in each of the three
        query, key, value = (
            project(hidden).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (R, N, P, D)
            for project in (self.query, self.key, self.value)
        )
        dropout_p = self.dropout_prob if self.training else 0.0
        mixed = attention(query, key, value, bias, dropout_p)
        return mixed.transpose(1, 2).flatten(2)  # (R, P, H)


class Output(nn.Module):
    """The end of both halves of a layer: back to H, on top of what came in, normalised."""

    def __init__(self, config: BertConfig, *, in_width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Attention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config, in_width=config.hidden_size)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return self.output(self.self(hidden, bias), hidden)


class Intermediate(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        return self.activation(self.dense(hidden))


class Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config, in_width=config.intermediate_size)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        hidden = self.attention(hidden, bias)
        return self.output(self.intermediate(hidden), hidden)


class LayerStack(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.order = config.layer_order
        self.layer = nn.ModuleList(Layer(config) for _ in range(max(self.order) + 1))
        self.recomputes = False

    def forward(self, hidden: Tensor, bias: Tensor) -> list[Tensor]:
        states = [hidden]
        for number in self.order:
            layer = self.layer[number]
            if self.recomputes and self.training:
                states.append(checkpoint(layer, states[-1], bias, use_reentrant=False))
            else:
                states.append(layer(states[-1], bias))
        return states


class Bert(nn.Module):
    """A BERT encoder without a pooler; see `ner.encoders` for what every encoder fulfils."""

    Config = BertConfig
    file_prefix = "bert"

    def __init__(self, config: BertConfig, *, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 1:
            raise ValueError(f"vocab_size: got {vocab_size}, expected at least 1")
        self.config = config
        self.vocab_size = vocab_size
        self.width = config.hidden_size
        self.embeddings = Embeddings(config, vocab_size)
        self.embeddings_project = None
        if config.has_projection:
            self.embeddings_project = nn.Linear(config.embedding_size, config.hidden_size)
        self.encoder = LayerStack(config)
        self.n_layers = len(self.encoder.order)
        self.apply(self._initialise)

    @torch.no_grad()
    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            module.bias.zero_()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()

    def forward(
        self,
        piece_ids: Tensor,
        piece_mask: Tensor,
        segment_ids: Tensor | None = None,
        *,
        layers: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Encodes rows of pieces.

        piece_ids    (R, P)    int64  any piece of the vocabulary at padding
        piece_mask   (R, P)    bool   True = real; a row may be padding altogether
        segment_ids  (R, P)    int64  None = segment 0 everywhere
        returns      (R, P, H) float  finite at padding; with `layers`, a tuple of them:
                                      the embeddings, then what each layer puts out
        ValueError: P beyond max_position_embeddings, a mask of another shape or not bool.
        """
        n_pieces, limit = piece_ids.shape[1], self.config.max_position_embeddings
        if n_pieces > limit:
            raise ValueError(f"piece_ids: got {n_pieces} pieces a row, expected at most {limit}")
        if piece_mask.dtype != torch.bool or piece_mask.shape != piece_ids.shape:
            raise ValueError(
                f"piece_mask: got {tuple(piece_mask.shape)} {piece_mask.dtype}, "
                f"expected {tuple(piece_ids.shape)} torch.bool"
            )
        hidden = self.embeddings(piece_ids, segment_ids)
        if self.embeddings_project is not None:
            hidden = self.embeddings_project(hidden)
        bias = key_bias(piece_mask, dtype=product_dtype(self.embeddings.word_embeddings.weight))
        states = self.encoder(hidden, bias)
        return tuple(states) if layers else states[-1]

    def recompute(self) -> None:
        """Keeps of each layer, in training, what goes into it; the rest is computed again for the gradient.

        Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost": one more forward pass a step.
        """
        self.encoder.recomputes = True

    def depth_of(self, parameter_name: str) -> int:
        """0 for the embeddings, i + 1 for layer i; ValueError for a name that is not its own."""
        parts = parameter_name.split(".")
        if parts[0] in ("embeddings", "embeddings_project"):
            return 0
        if parts[:2] == ["encoder", "layer"] and len(parts) > 2 and parts[2].isdecimal():
            return int(parts[2]) + 1
        raise ValueError(f"parameter: got {parameter_name!r}, expected embeddings.* or encoder.layer.*")


def layer_part(name: str) -> tuple[int, str, str]:
    """`encoder.layer.3.attention.self.query.bias` -> 3, `attention.self.query`, `bias`."""
    number, _, rest = name.removeprefix("encoder.layer.").partition(".")
    part, _, kind = rest.rpartition(".")
    return int(number), part, kind


def product_dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which a matrix product with this weight is computed, autocast considered."""
    device = weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype
