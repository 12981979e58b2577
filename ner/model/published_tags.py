"""The tags of published classifiers."""

import re
from collections.abc import Mapping
from pathlib import Path

from ner.encoders.published import config_path
from ner.errors import DataError
from ner.tags import NON_TAGS, OUTSIDE, TagSet, guess_scheme

_BILOU = str.maketrans("LU", "ES")
MAX_TAGS = 2000  # a table of all pairs is made


def published_tags(names: list[str]) -> list[str]:
    """Tags as published classifiers spell them -> ours: B_PER, L- and U- (BILOU), bare labels (IO)."""
    parts = [re.fullmatch(r"([BIESMLU])[-_](.+)", name) for name in names]
    bare = not any(parts)
    tags = []
    for name, part in zip(names, parts, strict=True):
        if name == OUTSIDE or name in NON_TAGS:
            tags.append(name)
        elif re.fullmatch(r"LABEL_\d+", name):
            raise ValueError(f"got the placeholder {name}, expected tags such as B-LOC")
        elif part is not None:
            tags.append(f"{part[1].translate(_BILOU)}-{part[2]}")
        else:
            tags.append(f"I-{name}" if bare else name)
    return tags


def _tag_set(config: Mapping, own: Mapping, model_dir: str | Path) -> TagSet:
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        raise DataError(f"{config_path(model_dir)}: no id2label, expected a model trained for tagging")
    if len(names) > MAX_TAGS or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{config_path(model_dir)}: id2label: expected names, {MAX_TAGS} at most")
    try:
        tags = published_tags([names[str(i)] for i in range(len(names))])
        return TagSet(tags, own.get("scheme") or guess_scheme(set(tags) - set(NON_TAGS)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{config_path(model_dir)}: id2label: {error}") from None
