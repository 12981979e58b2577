"""What the head sees of the encoder: which of its layers, and whether a BiLSTM reads them first.

Axes: B sentences, T tokens, R rows, P pieces, H the encoder's width.
"""

import torch
from torch import Tensor, nn

from ner.config import choose
from ner.encoders.base import Encoder
from ner.errors import DataError
from ner.layers.bilstm import BiLstmLayer, reversal

LAYERS = ("last", "concat4", "max4", "mix")
CONTEXTS = ("none", "bilstm")


class Features(nn.Module):
    """Picks from an encoder's states, and reads them in context; `build_features` checks the arguments.

    layers   "last"; "concat4" or "max4": the last four layers, concatenated or their elementwise maximum
             (Devlin et al. 2019, section 5.3, tried the first); "mix": a learned weighted mean of all layers,
             times a learned number (Peters et al. 2018, equation 1); or the number of a layer, from 1
    context  "none", or "bilstm": a BiLSTM over the tokens
    """

    def __init__(self, encoder: Encoder, layers: str | int = "last", context: str = "none") -> None:
        super().__init__()
        self.layers, self.kind = layers, context
        highest = layers if isinstance(layers, int) else encoder.n_layers
        n_chosen = {"concat4": 4, "max4": 4, "mix": highest}.get(layers, 1)
        self.chosen = range(highest - n_chosen + 1, highest + 1)
        self.mix = self.scale = self.context = None
        if layers == "mix":
            self.mix = nn.Parameter(torch.zeros(encoder.n_layers))
            self.scale = nn.Parameter(torch.ones(1))
        self.width = encoder.width * (4 if layers == "concat4" else 1)
        if context == "bilstm":
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
        """hidden (B, T, H or 4 H), mask (B, T) bool -> (B, T, width); padding has no influence."""
        return hidden if self.context is None else self.context(hidden, reversal(mask))


def build_features(
    encoder: Encoder, layers: str | int, context: str, *, where: str = "params"
) -> Features | None:
    """The features that the arguments ask for, as in `Features`; None for the last layer as it is.

    DataError, beginning with `where`: too few layers, an odd width under a BiLSTM, an unknown name.
    """
    n_layers = encoder.n_layers
    if isinstance(layers, int):
        if not 1 <= layers <= n_layers:
            raise DataError(f"{where}: layers: got {layers}, expected 1 to {n_layers}, the encoder's")
    elif layers not in LAYERS:
        expected = f"a number or one of {', '.join(LAYERS)}"
        raise DataError(f"{where}: layers: got {layers!r}, expected {expected}")
    elif layers in ("concat4", "max4") and n_layers < 4:
        raise DataError(f"{where}: layers: got {layers!r}, expected an encoder of 4 layers, got {n_layers}")
    choose(context, CONTEXTS, f"{where}: context")
    if context == "bilstm" and encoder.width % 2:
        raise DataError(f"{where}: context: got 'bilstm', expected an even width, got {encoder.width}")
    return None if (layers, context) == ("last", "none") else Features(encoder, layers, context)
