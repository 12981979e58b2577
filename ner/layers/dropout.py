"""Dropout whose masks cost little on a CPU.

On most CPUs torch draws a double for each number, which took 30% of a training step of a small BERT.  16 bits
are enough here, and one draw of torch's own generator gives four numbers of 16 bits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 1 << 16  # p is rounded to a multiple of 1 / 65536


def dropout(x: Tensor, p: float) -> Tensor:
    """Sets each number to 0 with probability p, 0 <= p < 1, and divides the others by 1 - p."""
    if p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    n_dropped = min(round(p * _LEVELS), _LEVELS - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    noise = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.ge(bits, n_dropped - _LEVELS // 2, out=noise)
    return x * noise.mul_(_LEVELS / (_LEVELS - n_dropped))


class Dropout(nn.Dropout):
    """`dropout` in training, nothing in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input
