"""Scaled dot-product attention (Vaswani et al. 2017, "Attention is all you need", section 3.2.1).

Axes: R rows, N attention heads, P pieces, D width of one head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ner.layers.dropout import dropout

# On a CPU the fused kernel pays off only if memory for the P x P table is short: with the plain version a
# training step (bf16, no dropout, 4 layers of width 320) was 1.35 times faster at 256 pieces, 1.4 at 512.
FUSED_FROM_PIECES = 1024


def key_bias(piece_mask: Tensor, *, dtype: torch.dtype) -> Tensor:
    """The number to add to the score of every key: 0 if it is real, hugely negative at padding.

    piece_mask  (R, P)        bool   True = real
    returns     (R, 1, 1, P)  dtype  finite everywhere
    """
    # With -infinity, a row without any real piece would become NaN. Half the lowest number leaves room
    # for the score that it is added to; in float16 the sum would otherwise overflow to -infinity.
    lowest = torch.finfo(dtype).min / 2
    bias = torch.zeros(piece_mask.shape, dtype=dtype, device=piece_mask.device)
    return bias.masked_fill(~piece_mask, lowest)[:, None, None, :]


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dropout_p: float) -> Tensor:
    """For each query, the mean of the row's values, weighted by how well their keys match the query.

    query, key, value  (R, N, P, D)  float  anything at padding
    bias               (R, 1, 1, P)  float  from `key_bias`, of the query's dtype
    dropout_p                               share of the weights set to 0; pass 0 in evaluation
    returns            (R, N, P, D)  float  at padded queries: finite, meaningless
    """
    if prefers_fused(query):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout_p)
    # Scaling the query touches P x D numbers, scaling the scores would touch P x P; in float16 it also
    # keeps the products from overflowing.
    scores = ((query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)).add_(bias)  # (R, N, P, P)
    weights = dropout(scores.softmax(dim=-1), dropout_p)
    return weights.to(value.dtype) @ value


def prefers_fused(query: Tensor) -> bool:
    """True if torch's kernel is the better choice for this device and length."""
    if query.device.type == "cuda":
        return True
    # An exported graph serves every length, so it must not branch on the length of the example.
    return not torch.compiler.is_exporting() and query.shape[2] >= FUSED_FROM_PIECES


def product_dtype(weight: Tensor) -> torch.dtype:
    """The dtype in which torch computes a matrix product with this weight: autocast's, or the weight's."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
