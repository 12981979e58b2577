"""What the head sees of the encoder: which of its layers, and whether a BiLSTM reads them first.

The plain choice, the last layer and no context, is no module at all and costs nothing.
"""

import torch
from torch import Tensor, nn

from ner.layers.bilstm import BiLstmLayer

LAYERS = ("last", "concat4", "max4", "mix")
CONTEXTS = ("none", "bilstm")


class Features(nn.Module):
    """`layers` of an encoder -> (B, T, width), through a BiLSTM over the tokens if `context` says so.

    layers: `last`; `concat4` and `max4`, the last four side by side or the largest of each number (Devlin
    et al. 2019, section 5.3, tried the first); `mix`, a learned weighted mean of all layers, times a
    learned number (Peters et al. 2018, equation 1, which counts the embeddings among them); or the number
    of a layer, from 1.
    ValueError where the encoder has not so many layers, its width has no half for each direction of the
    BiLSTM, or the name is none.
    """

    def __init__(self, encoder: nn.Module, layers: str | int = "last", context: str = "none") -> None:
        super().__init__()
        self.layers, self.kind = layers, context
        self.chosen = _chosen(layers, encoder.n_layers)
        self.mix = self.scale = self.context = None
        if layers == "mix":
            self.mix = nn.Parameter(torch.zeros(encoder.n_layers))
            self.scale = nn.Parameter(torch.ones(1))
        self.width = encoder.width * (4 if layers == "concat4" else 1)
        if context not in CONTEXTS:
            raise ValueError(f"context: got {context!r}, expected one of {', '.join(CONTEXTS)}")
        if context == "bilstm":
            if encoder.width % 2:
                raise ValueError(f"context: got 'bilstm', expected an even width, got {encoder.width}")
            self.context = BiLstmLayer(self.width, encoder.width)
            self.width = encoder.width

    def pick(self, states: tuple[Tensor, ...]) -> Tensor:
        """An encoder's states, (R, P, H) each, the embeddings first -> (R, P, H), or (R, P, 4 H)."""
        if self.mix is not None:
            weights = self.mix.softmax(0)
            return self.scale * sum(w * state for w, state in zip(weights, states[1:], strict=True))
        states = [states[number] for number in self.chosen]
        if self.layers == "concat4":
            return torch.cat(states, dim=-1)
        return states[0] if len(states) == 1 else torch.stack(states).amax(0)

    def read(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, T, .), (B, T) bool -> (B, T, width): the tokens in their context; padding has no power."""
        if self.context is None:
            return hidden
        places = torch.arange(mask.shape[1], device=mask.device)
        reversal = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - places, places)
        return self.context(hidden, reversal)


def _chosen(layers: str | int, n_layers: int) -> range:
    """The numbers of the layers, from 1."""
    if isinstance(layers, int):
        if not 1 <= layers <= n_layers:
            raise ValueError(f"layers: got {layers}, expected 1 to {n_layers}, the encoder's")
        return range(layers, layers + 1)
    if layers not in LAYERS:
        raise ValueError(f"layers: got {layers!r}, expected a number or one of {', '.join(LAYERS)}")
    n_wanted = 4 if layers in ("concat4", "max4") else 1
    if n_wanted > n_layers:
        raise ValueError(f"layers: got {layers!r}, expected an encoder of 4 layers, got {n_layers}")
    return range(n_layers - n_wanted + 1, n_layers + 1)


def build_features(encoder: nn.Module, layers: str | int, context: str) -> Features | None:
    """None where the head sees the last layer as it is."""
    features = Features(encoder, layers, context)
    return None if (layers, context) == ("last", "none") else features
