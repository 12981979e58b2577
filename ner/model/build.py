"""Builds encoders and heads by their names in the registries."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ner.config import from_mapping, locate_key
from ner.encoders import ENCODERS, Encoder
from ner.errors import DataError
from ner.heads import HEADS
from ner.tags import TagSet


def build_head(
    name: str,
    width: int,
    tag_set: TagSet,
    *,
    dropout: float,
    facts: Mapping[str, Any] | None = None,
    where: str = "params",
) -> nn.Module:
    """The head of this name in `HEADS`, built with those of the `facts` that it needs.

    DataError, beginning with `where`, if the name is unknown or the head does not support the scheme.
    """
    if name not in list(HEADS):
        raise DataError(f"{where}: head: got {name!r}, expected one of {', '.join(HEADS)}")
    schemes = HEADS[name].schemes
    if tag_set.scheme not in schemes:
        raise DataError(
            f"{where}: head {name!r}: got scheme {tag_set.scheme}, expected one of {', '.join(schemes)}"
        )
    needed = {fact: value for fact, value in (facts or {}).items() if fact in HEADS[name].facts}
    return HEADS[name](width, tag_set, dropout=dropout, **needed)


def scheme_of(head: str) -> str:
    """The default scheme of the head of this name."""
    return "BIOES" if head in HEADS and "BIOES" in HEADS[head].schemes else "BIO"


def build_encoder(options: Mapping, *, vocab_size: int, where: str = "params") -> Encoder:
    """An encoder with random weights; `options` is the value of the key `encoder` of params.json.

    DataError, beginning with `where` (and with the line, if that is a file), if a name or a value is wrong.
    """
    options = dict(options)
    name = options.pop("name", None)
    if name not in list(ENCODERS):
        raise DataError(f"{where}: encoder.name: got {name!r}, expected one of {', '.join(ENCODERS)}")
    locate = partial(locate_key, where) if Path(where).is_file() else None
    config = from_mapping(ENCODERS[name].Config, options, f"{where}: encoder {name!r}", locate)
    return ENCODERS[name](config, vocab_size=vocab_size)
