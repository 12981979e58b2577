"""The tags of published taggers, as their configs spell them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ner.errors import DataError
from ner.tags import NON_TAGS, OUTSIDE, TagSet, guess_scheme

MAX_TAGS = 2000  # `TagSet` makes a table of all pairs of tags


def published_tags(names: Sequence[str]) -> list[str]:
    """Renames tags that are spelled otherwise: B_PER, and PER-B or PER_B if all are; the others stay.

    DataError if a name is a placeholder such as LABEL_0.
    """
    if placeholder := next((name for name in names if re.fullmatch(r"LABEL_\d+", name)), None):
        raise DataError(f"got the placeholder {placeholder}, expected tags such as B-LOC")
    named = [name for name in names if name != OUTSIDE and name not in NON_TAGS]
    for form in (r"(?P<prefix>[BIESMLU])[-_](?P<label>.+)", r"(?P<label>.+)[-_](?P<prefix>[BIESMLU])"):
        parts = {name: re.fullmatch(form, name) for name in named}
        if all(parts.values()):
            return [f"{parts[n]['prefix']}-{parts[n]['label']}" if n in parts else n for n in names]
    return list(names)


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
