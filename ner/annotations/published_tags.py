"""The tags of published classifiers, under many spellings."""

import re
from collections.abc import Mapping
from pathlib import Path

from ner.errors import DataError
from ner.tags import NON_TAGS, OUTSIDE, TagSet, guess_scheme

_BILOU = str.maketrans("LU", "ES")
MAX_TAGS = 2000  # `TagSet` makes a table of all pairs of tags


def published_tags(names: list[str]) -> list[str]:
    """Renames tags that published classifiers spell otherwise: B_PER, L- and U- (BILOU), bare labels (IO).

    DataError if a name is a placeholder such as LABEL_0.
    """
    parts = [re.fullmatch(r"([BIESMLU])[-_](.+)", name) for name in names]
    bare = not any(parts)
    tags = []
    for name, part in zip(names, parts, strict=True):
        if name == OUTSIDE or name in NON_TAGS:
            tags.append(name)
        elif re.fullmatch(r"LABEL_\d+", name):
            raise DataError(f"got the placeholder {name}, expected tags such as B-LOC")
        elif part is not None:
            tags.append(f"{part[1].translate(_BILOU)}-{part[2]}")
        else:
            tags.append(f"I-{name}" if bare else name)
    return tags


def read_tag_set(config: Mapping, *, scheme: str | None, where: str | Path) -> TagSet:
    """The tags that a model's config lists under `id2label`; without a `scheme`, guesses it from the tags.

    DataError, beginning with `where`, if there are no tags or they do not belong to one scheme.
    """
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        raise DataError(f"{where}: no id2label, expected a model trained for tagging")
    if len(names) > MAX_TAGS or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{where}: id2label: expected names, {MAX_TAGS} at most")
    try:
        tags = published_tags([names[str(i)] for i in range(len(names))])
        return TagSet(tags, scheme or guess_scheme(set(tags) - set(NON_TAGS)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: id2label: {error}") from None
