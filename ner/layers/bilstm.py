"""A bidirectional LSTM layer."""

import contextlib

import torch
from torch import nn


class BiLstmLayer(nn.Module):
    """One LSTM a direction.  The backward one reads each row reversed within its own length, so that
    padding, behind the text in both directions, has no power."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.forwards = nn.LSTM(width_in, width_out // 2, batch_first=True)
        self.backwards = nn.LSTM(width_in, width_out // 2, batch_first=True)

    def forward(self, x: torch.Tensor, reversal: torch.Tensor) -> torch.Tensor:
        """x (R, P, I), reversal (R, P) int64 -> (R, P, H); padding holds anything."""
        with _precision(x.device.type):
            ahead, _ = self.forwards(x)
            back, _ = self.backwards(_reorder(x, reversal))
        return torch.cat([ahead, _reorder(back, reversal)], dim=2)


def _precision(device_type: str):
    """Autocast as it is, but for float16 on a CPU, which torch has no LSTM for: there float32."""
    half = torch.is_autocast_enabled(device_type) and torch.get_autocast_dtype(device_type) == torch.float16
    if device_type == "cpu" and half:
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _reorder(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    n_rows, n_pieces, width = x.shape
    flat = order + n_pieces * torch.arange(n_rows, device=x.device)[:, None]
    return x.reshape(-1, width).index_select(0, flat.view(-1)).view(n_rows, n_pieces, width)
