"""BERT in plain torch, from its parts to the whole: embeddings, attention, layer, encoder.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
The attributes are named so that `Bert.state_dict()` has the published names.
Axes: R rows, P pieces, E width of the embeddings, H hidden width, I width between the two maps of the
feed-forward half, N attention heads, D = H / N.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ner.config import option, require
from ner.encoders.base import DROPOUT, SIZE, Encoder, EncoderConfig
from ner.layers.attention import attention, key_bias, product_dtype
from ner.layers.dropout import Dropout

ACTIVATIONS = {"gelu": nn.GELU, "gelu_new": partial(nn.GELU, approximate="tanh"), "relu": nn.ReLU}


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
        return self.hidden_size

    @property
    def has_projection(self) -> bool:
        """True if a linear map leads from E to H."""
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
        layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
        embeddings = (vocab_size + self.max_position_embeddings + self.type_vocab_size + 2) * narrow
        projection = narrow * width + width if self.has_projection else 0
        return embeddings + projection + self.n_own_layers * layer


class Embeddings(nn.Module):
    """The sum of the vectors of piece, position and segment, normalised."""

    def __init__(self, config: BertConfig, vocab_size: int) -> None:
        super().__init__()
        width = config.embedding_size
        self.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, piece_ids: Tensor, segment_ids: Tensor | None) -> Tensor:
        """piece_ids, segment_ids (R, P) int64 -> (R, P, E)."""
        # Positions are 0, 1, 2, ... in every row, so a slice serves; its gradient is cheaper than a lookup's.
        position = self.position_embeddings.weight[: piece_ids.shape[1]]  # (P, E)
        if self.token_type_embeddings is None:
            hidden = self.word_embeddings(piece_ids) + position
        elif segment_ids is None:
            hidden = self.word_embeddings(piece_ids) + (position + self.token_type_embeddings.weight[0])
        else:
            hidden = self.word_embeddings(piece_ids) + self.token_type_embeddings(segment_ids) + position
        return self.dropout(self.LayerNorm(hidden))


class SelfAttention(nn.Module):
    """Every piece looks at all real pieces of its row, in N heads."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.dropout = Dropout(config.attention_probs_dropout_prob)  # of weights, applied by `attention`
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """hidden (R, P, H), bias (R, 1, 1, P) from `key_bias` -> (R, P, H)."""
        hidden = hidden.to(product_dtype(self.query.weight))  # one cast instead of three
        query, key, value = (
            project(hidden).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (R, N, P, D)
            for project in (self.query, self.key, self.value)
        )
        mixed = attention(query, key, value, bias, self.dropout.p if self.training else 0.0)
        return mixed.transpose(1, 2).flatten(2)


class Output(nn.Module):
    """The end of both halves of a layer: a map to H, dropout, the residual connection, normalisation."""

    def __init__(self, config: BertConfig, *, in_width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """hidden (R, P, in_width), residual (R, P, H) -> (R, P, H)."""
        return self.LayerNorm(self.dropout(self.dense(hidden)) + residual)


class Layer(nn.Module):
    """Attention, then the feed-forward half: a map to I, an activation, a map back to H."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        parts = {"self": SelfAttention(config), "output": Output(config, in_width=config.hidden_size)}
        self.attention = nn.ModuleDict(parts)
        widen = nn.Linear(config.hidden_size, config.intermediate_size)
        activation = ACTIVATIONS[config.hidden_act]()
        self.intermediate = nn.Sequential(OrderedDict(dense=widen, activation=activation))
        self.output = Output(config, in_width=config.intermediate_size)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return self.after_mixing(self.attention.self(hidden, bias), hidden)

    def after_mixing(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """What works on one piece at a time: (..., H) from self-attention, (..., H) -> (..., H)."""
        hidden = self.attention.output(mixed, hidden)
        return self.output(self.intermediate(hidden), hidden)


class Bert(Encoder):
    """A BERT encoder without a pooler."""

    Config = BertConfig
    file_prefix = "bert"
    published_as = ("bert", "ernie")
    can_compile = True

    def __init__(self, config: BertConfig, *, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 1:
            raise ValueError(f"vocab_size: got {vocab_size}, expected at least 1")
        self.config, self.vocab_size, self.width = config, vocab_size, config.hidden_size
        self.embeddings = Embeddings(config, vocab_size)
        projection = nn.Linear(config.embedding_size, self.width) if config.has_projection else nn.Identity()
        self.embeddings_project = projection
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(map(Layer, [config] * config.n_own_layers))})
        self.order, self.recomputes = config.layer_order, False
        self.n_layers, self.max_positions = len(self.order), config.max_position_embeddings
        self.apply(self._initialise)

    @torch.no_grad()
    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            module.bias.zero_()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx].zero_()

    def forward(self, piece_ids, piece_mask, segment_ids=None, *, layers=False):
        """As `Encoder.forward`.  ValueError if P exceeds max_position_embeddings or the mask is malformed."""
        n_pieces, limit = piece_ids.shape[1], self.max_positions
        if n_pieces > limit:
            raise ValueError(f"piece_ids: got {n_pieces} pieces a row, expected at most {limit}")
        if piece_mask.dtype != torch.bool or piece_mask.shape != piece_ids.shape:
            got = f"{tuple(piece_mask.shape)} {piece_mask.dtype}"
            raise ValueError(f"piece_mask: got {got}, expected {tuple(piece_ids.shape)} torch.bool")
        states = self._states(piece_ids, segment_ids, self._bias(piece_mask), self.order)
        return tuple(states) if layers else states[-1]

    def states_at(self, piece_ids: Tensor, piece_mask: Tensor, places: Tensor) -> Tensor:
        """The last states at some places only: `self(piece_ids, piece_mask).flatten(0, 1)[places]`.

        places   (M,)   int64  row * P + column
        returns  (M, H) float
        What follows attention in the last layer works on one piece at a time and is computed at the places
        alone: about a tenth of a training step with four layers.
        """
        *numbers, last = self.order
        layer, bias = self.encoder.layer[last], self._bias(piece_mask)
        hidden = self._states(piece_ids, None, bias, numbers)[-1]
        mixed = layer.attention.self(hidden, bias)
        return layer.after_mixing(*(x.flatten(0, 1).index_select(0, places) for x in (mixed, hidden)))

    def _states(self, piece_ids, segment_ids, bias: Tensor, numbers: Sequence[int]) -> list[Tensor]:
        """The embeddings, then the output of each of the numbered layers in order, (R, P, H) each."""
        states = [self.embeddings_project(self.embeddings(piece_ids, segment_ids))]
        for layer in (self.encoder.layer[number] for number in numbers):
            if self.recomputes and self.training:
                states.append(checkpoint(layer, states[-1], bias, use_reentrant=False))
            else:
                states.append(layer(states[-1], bias))
        return states

    def _bias(self, piece_mask: Tensor) -> Tensor:
        return key_bias(piece_mask, dtype=product_dtype(self.word_embeddings.weight))

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def recompute(self, where: str = "params") -> None:
        self.recomputes = True

    def depth_of(self, parameter_name: str) -> int:
        if parameter_name.startswith(("embeddings.", "embeddings_project.")):
            return 0
        if found := re.match(r"encoder\.layer\.(\d+)\.", parameter_name):
            return int(found[1]) + 1
        raise ValueError(f"parameter: got {parameter_name!r}, expected embeddings.* or encoder.layer.*")
