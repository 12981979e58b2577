"""Builds encoders and heads by their names in the registries."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from ner.config import from_mapping, locate_key
from ner.encoders import ENCODERS, Encoder
from ner.errors import DataError
from ner.heads import HEADS
from ner.heads.base import Head, HeadOptions


def head_kind(name: str, *, where: str = "params") -> type[Head]:
    """The class of a head in `HEADS`; DataError, beginning with `where`, if there is none of this name."""
    if name not in list(HEADS):
        raise DataError(f"{where}: head: got {name!r}, expected one of {', '.join(HEADS)}")
    return HEADS[name]


def build_head(
    name: str,
    width: int,
    inventories: Mapping[str, Any],
    options: HeadOptions | Mapping[str, Any] | None = None,
    *,
    where: str = "params",
) -> Head:
    """Builds a head by its name in `HEADS`.

    `options` are the head's own, as an object of its dataclass or as keys of it.  DataError, beginning with
    `where`: an unknown head, a wrong option, a tag scheme that the head cannot work in.
    """
    kind = head_kind(name, where=where)
    if "spans" in inventories and inventories["spans"].tag_set.scheme not in kind.schemes:
        got = inventories["spans"].tag_set.scheme
        raise DataError(
            f"{where}: head {name!r}: got scheme {got}, expected one of {', '.join(kind.schemes)}"
        )
    if not isinstance(options, HeadOptions):
        options = from_mapping(kind.Options, options or {}, f"{where}: head {name!r}")
    return kind(width, inventories, options)


def head_options(name: str, keys: Mapping[str, Any], *, where: str = "params") -> dict[str, Any]:
    """The options of a head from the keys of params.json.

    An option is stated inside the key `head`, or by a key of its own (`flat` in the head's dataclass).
    DataError, beginning with `where`, if a key is set that this head does not have, or an option twice.
    """
    stated = dict(keys["head"]) if isinstance(keys["head"], Mapping) else {}
    stated.pop("name", None)
    own = {one.metadata["flat"]: one for one in fields(HEADS[name].Options) if one.metadata.get("flat")}
    for kind in HEADS.values():
        for one in fields(kind.Options):
            flat = one.metadata.get("flat")
            if flat in keys and flat not in own and keys[flat] != one.default:
                raise DataError(
                    f"{where}: {flat}: got {keys[flat]!r}, which head {name!r} cannot be trained with"
                )
    for flat, one in own.items():
        if keys[flat] != one.default and one.name in stated:
            raise DataError(f"{where}: {flat} and head.{one.name}: expected one of them")
        stated.setdefault(one.name, keys[flat])
    return stated


def scheme_of(head: str) -> str:
    """The scheme that a head of this name works in by default."""
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
