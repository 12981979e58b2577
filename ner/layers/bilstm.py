"""A bidirectional LSTM layer, and the order in which it reads rows backwards."""

import contextlib
import functools

import torch
from torch import Tensor, nn


class BiLstmLayer(nn.Module):
    """One LSTM for each direction.

    The backward LSTM reads each row reversed within its own length.  So padding comes after the text in both
    directions and cannot influence it.
    """

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.forwards = nn.LSTM(width_in, width_out // 2, batch_first=True)
        self.backwards = nn.LSTM(width_in, width_out // 2, batch_first=True)

    def forward(self, x: Tensor, backwards: Tensor) -> Tensor:
        """x (R, P, I) float, backwards (R, P) int64 from `reversal` -> (R, P, H); meaningless at padding."""
        with _lstm_precision(x.device.type):
            ahead, _ = self.forwards(x)
            back, _ = self.backwards(_reorder(x, backwards))
        return torch.cat([ahead, _reorder(back, backwards)], dim=2)


def reversal(mask: Tensor) -> Tensor:
    """Columns that reverse the real part of each row and leave padding in place; its own inverse.

    mask     (R, P)  bool   True = real, contiguous from 0
    returns  (R, P)  int64
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - places, places)


def _lstm_precision(device_type: str) -> contextlib.AbstractContextManager:
    """Float32 in place of autocast on a CPU whose LSTM cannot compute in the dtype of autocast."""
    if device_type == "cpu" and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        if dtype == torch.float16 or not _has_cpu_lstm(dtype):  # float16: never, so that machines agree
            return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


@functools.cache
def _has_cpu_lstm(dtype: torch.dtype) -> bool:
    """False if this CPU's LSTM refuses a dtype, as oneDNN limited to AVX2 refuses bfloat16."""
    x, state = torch.zeros(1, 1, 1), [torch.zeros(1, 1, 1)] * 2
    weights = [torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4)]
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype):
            torch.lstm(x, state, weights, True, 1, 0.0, False, False, True)
    except RuntimeError:
        return False
    return True


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    """x (R, P, I), order (R, P) -> (R, P, I): row r of the result holds x[r, order[r]]."""
    n_rows, n_pieces, width = x.shape
    flat = order + n_pieces * torch.arange(n_rows, device=x.device)[:, None]
    return x.reshape(-1, width).index_select(0, flat.view(-1)).view(n_rows, n_pieces, width)
