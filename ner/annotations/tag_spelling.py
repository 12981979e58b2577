"""The tags of files and of published taggers, as they spell them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ner.errors import DataError
from ner.tags import NON_TAGS, OUTSIDE, PREFIXES, UNNAMED, TagSet, guess_scheme, split_tag

MAX_TAGS = 2000  # `TagSet` makes a table of all pairs of tags


def tag_set_of(
    first_seen: dict[str, int], path: str | Path, scheme: str | None = None, *, label: str = UNNAMED
) -> TagSet:
    """The tag set of a file, from each tag and the line of its first use; DataError names that line.

    `scheme` None: guessed from the tags.  `label` names tags without a label of their own.
    """
    try:
        return _tag_set_of_file(list(first_seen), scheme, label)
    except ValueError as error:
        problem = error
    seen: dict[tuple, str] = {}
    for tag, number in first_seen.items():
        prefix, hyphen, name = tag.partition("-")
        seen.setdefault((prefix, hyphen, bool(name)), tag)
        try:
            _tag_set_of_file(list(seen.values()), scheme, label)
        except ValueError as error:
            problem = f"{path}:{number}: {error}"
            break
    are_labels = not any(tag.partition("-")[0] in PREFIXES for tag in first_seen)
    raise DataError(f"{problem}{'; --scheme IO reads labels without prefix' if are_labels else ''}")


def _tag_set_of_file(tags: list[str], scheme: str | None, label: str) -> TagSet:
    for tag in tags:
        if scheme != "IO" or tag in NON_TAGS:
            split_tag(tag)
    guessed = scheme or guess_scheme(tags)
    # A label may lack I- (entities of one token) or B- (illegal starts); BIO then gives the same entities as
    # IOB1 and IO.
    guessed = "BIO" if scheme is None and guessed in ("IOB1", "IO") else guessed
    return TagSet([OUTSIDE, *sorted(set(tags) - {OUTSIDE})], guessed, label=label)


def published_tags(names: Sequence[str]) -> list[str]:
    """Renames tags that are spelled otherwise: B_PER, and PER-B or PER_B if all are; the others stay.

    DataError if a name is a placeholder such as LABEL_0.
    """
    if placeholder := next((name for name in names if re.fullmatch(r"LABEL_\d+", name)), None):
        raise DataError(
            f"got the placeholder {placeholder}, expected tags such as B-LOC; --label_names gives them"
        )
    named = [name for name in names if name != OUTSIDE and name not in NON_TAGS]
    for form in (r"(?P<prefix>[BIESMLU])[-_](?P<label>.+)", r"(?P<label>.+)[-_](?P<prefix>[BIESMLU])"):
        parts = {name: re.fullmatch(form, name) for name in named}
        if all(parts.values()):
            return [f"{parts[n]['prefix']}-{parts[n]['label']}" if n in parts else n for n in names]
    return list(names)


def name_tags(id2label: Any, names: Sequence[str]) -> dict[str, str]:
    """`id2label` of a config with other names: one for each class, or one for the class of bare B, I and O.

    DataError if there are fewer or more names than classes.
    """
    old = id2label if isinstance(id2label, dict) else dict.fromkeys(map(str, range(len(names))), "")
    bare = [tag for tag in old.values() if tag != OUTSIDE]
    if len(names) == 1 and bare and all(tag in PREFIXES for tag in bare):
        return {number: tag if tag == OUTSIDE else f"{tag}-{names[0]}" for number, tag in old.items()}
    if len(names) != len(old):
        raise DataError(f"--label_names: got {len(names)} names, expected {len(old)}, one for each class")
    return {str(number): name for number, name in enumerate(names)}


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
