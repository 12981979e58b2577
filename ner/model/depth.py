"""Depth in the encoder: which parameters learn.  0 is the embeddings, i + 1 is layer i."""

from ner.model.tagger import Tagger


def depth_of(tagger: Tagger, name: str) -> int | None:
    """The depth of one of the tagger's parameters; None if it is not the encoder's."""
    inner = name.removeprefix("encoder.")
    return None if inner == name else tagger.encoder.depth_of(inner)


def n_layers_of(tagger: Tagger) -> int:
    """The depth of the highest layer that the head sees."""
    highest = max(tagger.encoder.depth_of(name) for name, _ in tagger.encoder.named_parameters())
    return highest if tagger.features is None else min(highest, tagger.features.chosen[-1])


def train_from(tagger: Tagger, depth: int) -> None:
    """Lets the encoder learn from `depth` up: 0 is all of it, i + 1 keeps everything below layer i fixed.

    No gradient is computed below `depth`, nor above the highest layer that the head sees.
    """
    highest = n_layers_of(tagger)
    for name, parameter in tagger.encoder.named_parameters():
        parameter.requires_grad_(depth <= tagger.encoder.depth_of(name) <= highest)


def unfrozen_depth(epoch: int, *, n_layers: int, every: int, frozen: int) -> int:
    """The depth from which the encoder learns in an epoch (from 0): gradual unfreezing.

    Howard and Ruder 2018, section 3.3, with the head as the last group: at first only the head learns; after
    each `every` epochs the next layer below joins, the embeddings last.  The lowest `frozen` depths never
    join.  If `every` is 0, everything else learns from the start.
    """
    return max(frozen, n_layers + 1 - epoch // every) if every else frozen
