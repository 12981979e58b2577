"""Builds encoders and heads by their names in the registries."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from ner.config import choose, from_mapping, locate_key
from ner.encoders import ENCODERS, Encoder
from ner.errors import DataError
from ner.heads import HEADS
from ner.heads.base import Head


def build_head(
    name: str,
    width: int,
    inventories: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    where: str = "params",
) -> Head:
    """Builds a head by its name in `HEADS`.

    `options` are keys of the head's own dataclass.  DataError, beginning with `where`: an unknown head, a
    wrong option, a tag scheme that the head cannot work in.
    """
    kind = HEADS[choose(name, HEADS, f"{where}: head")]
    where = f"{where}: head {name!r}"
    if "spans" in inventories:
        choose(inventories["spans"].tag_set.scheme, kind.schemes, f"{where}: scheme")
    return kind(width, inventories, from_mapping(kind.Options, options, where))


def head_options(name: str, keys: Mapping[str, Any], *, where: str = "params") -> dict[str, Any]:
    """The options of a head from the keys of params.json.

    An option is stated inside the key `head`, or by a key of its own (`flat` in the head's dataclass).
    DataError, beginning with `where`, if a key is set that this head does not have, or an option twice.
    """
    stated = dict(keys["head"]) if isinstance(keys["head"], Mapping) else {}
    stated.pop("name", None)
    own = {one.name for one in fields(HEADS[name].Options)}
    options = {one.metadata.get("flat"): one for kind in HEADS.values() for one in fields(kind.Options)}
    for flat, option in options.items():
        value = keys.get(flat, option.default)
        if value != option.default and option.name not in own:
            raise DataError(f"{where}: {flat}: got {value!r}, which head {name!r} cannot be trained with")
        if value != option.default and option.name in stated:
            raise DataError(f"{where}: {flat} and head.{option.name}: expected one of them")
        if flat in keys and option.name in own:
            stated.setdefault(option.name, value)
    return stated


def build_encoder(options: Mapping, *, vocab_size: int, where: str = "params") -> Encoder:
    """An encoder with random weights; `options` is the value of the key `encoder` of params.json.

    DataError, beginning with `where` (and with the line, if that is a file), if a name or a value is wrong.
    """
    options = dict(options)
    name = choose(options.pop("name", None), ENCODERS, f"{where}: encoder.name")
    locate = partial(locate_key, where) if Path(where).is_file() else None
    config = from_mapping(ENCODERS[name].Config, options, f"{where}: encoder {name!r}", locate)
    return ENCODERS[name](config, vocab_size=vocab_size)
