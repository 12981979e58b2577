"""Depth in the encoder: which parameters learn."""

from torch import nn


def depth_of(tagger: nn.Module, name: str) -> int | None:
    """0 for the encoder's embeddings, i + 1 for its i-th layer, None for what is not the encoder's."""
    inner = name.removeprefix("encoder.")
    return None if inner == name else tagger.encoder.depth_of(inner)


def n_layers_of(tagger: nn.Module) -> int:
    """How many of the encoder's layers there are up to the highest that the head sees."""
    highest = max(tagger.encoder.depth_of(name) for name, _ in tagger.encoder.named_parameters())
    features = getattr(tagger, "features", None)
    return min(highest, features.chosen[-1]) if features else highest


def train_from(tagger: nn.Module, depth: int) -> None:
    """Lets the encoder learn from `depth` up: 0 is all of it, i + 1 leaves what is below layer i as it is.

    Nothing below the lowest layer that learns is differentiated, nor above the highest that the head sees.
    """
    highest = n_layers_of(tagger)
    for name, parameter in tagger.encoder.named_parameters():
        parameter.requires_grad_(depth <= tagger.encoder.depth_of(name) <= highest)


def unfrozen_depth(epoch: int, *, n_layers: int, every: int, frozen: int) -> int:
    """From which depth up the encoder learns in an epoch (from 0): gradual unfreezing.

    Howard and Ruder 2018, section 3.3, with the head as the last group: it learns alone at first, and each
    `every` epochs the next layer below joins, the embeddings at the end.  The lowest `frozen` depths never
    do; an `every` of 0 begins with all others.
    """
    return max(frozen, n_layers + 1 - epoch // every) if every else frozen
