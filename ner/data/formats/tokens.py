"""JSON objects with tokens and a tag each, as most sets on the Hugging Face Hub are: tokens.

`{"tokens": ["Mira", "left"], "ner_tags": ["B-PER", "O"]}`.  `words` is read in place of `tokens`; `tags`,
`labels` or `ner` in place of `ner_tags`.  Tags may be numbers: their names stand in `--label_names`, or under
`features` in the file, as a `ClassLabel` of the library `datasets` has them.  An object without tags is not
annotated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, Document, Format, Reading
from ner.data.formats.objects import UnreadKeys, objects, sample_objects, type_name
from ner.data.formats.rows import Block
from ner.data.formats.tagged import make_document
from ner.data.wording import note_lines
from ner.errors import DataError
from ner.files import has_half_pair, read_text_lines
from ner.tags import UNNAMED

TOKEN_KEYS = ("tokens", "words")
TAG_KEYS = ("ner_tags", "tags", "labels", "ner")


def looks_like(path: Path, text: str) -> bool:
    """True if an object has a list of strings under `tokens` or `words`, or features; and tags or no text."""
    for values in sample_objects(path, text):
        has_tokens = _is_strings(values.get(_first_key(values, TOKEN_KEYS)))
        if has_tokens or isinstance(values.get("features"), list | dict):
            return bool(_first_key(values, TAG_KEYS)) or not isinstance(values.get("text"), str)
    return False


def read_tokens(path: str | Path, reading: Reading = DEFAULTS) -> Document:
    """Reads a sentence an object.

    DataError with the line if tokens and tags differ in number, if a number has no name, or if a tag is not
    one of the scheme; also if only some objects have tags.
    """
    path = Path(path)
    content = read_content(path, reading.encoding)
    blocks: list[Block] = []
    unread = UnreadKeys(path, "tags under 'ner_tags', other lists removed")
    for line, values, names in _rows(path, content.text, reading.label_names):
        token_key, tag_key = (_only_key(path, line, values, keys) for keys in (TOKEN_KEYS, TAG_KEYS))
        tokens = values.get(token_key)
        if not _is_strings(tokens) or "" in tokens or any(map(has_half_pair, tokens)):
            got = f"{str(tokens)[:60]!a} under {token_key!r}" if token_key else f"keys {list(values)[:5]}"
            raise DataError(f"{path}:{line}: got {got}, expected tokens that are not empty under 'tokens'")
        tags = _tags(f"{path}:{line}", tag_key, values[tag_key], names) if tag_key else None
        if tags is not None and len(tags) != len(tokens):
            raise DataError(f"{path}:{line}: {len(tags)} {tag_key}, expected {len(tokens)} as {token_key}")
        unread.check(line, values, {token_key, tag_key}, annotated=tags is not None)
        blocks.append(Block(line, tokens, [] if tags is None else [tags], one_line=True))
    empty_lines = [block.first_line for block in blocks if not block.tokens]
    blocks = [block for block in blocks if block.tokens]
    if not blocks:
        raise DataError(f"{path}: no sentence, expected objects with tokens")
    without = next((block.first_line for block in blocks if not block.tags), None)
    if without and any(block.tags for block in blocks):
        raise DataError(f"{path}:{without}: no tags, though other sentences have them; expected all or none")
    notes = [*unread.notes(), *note_lines(empty_lines, "without a token left out", "sentence")]
    label = reading.label_names[0] if len(reading.label_names) == 1 else UNNAMED
    return make_document(path, content, blocks, reading, notes, label=label)


def tag_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names themselves, or the lines of the only file that is given in their place."""
    if len(given) == 1 and (Path(given[0]).is_file() or given[0].endswith(".txt")):
        given = [line for line in read_text_lines(Path(given[0])) if line]
    return tuple(given)


def _rows(path: Path, text: str, names: Sequence[str]) -> Iterator[tuple[int, dict, dict | Sequence[str]]]:
    """(line, object, names of numbers): all names as given, or those of `features` by key.

    Rows may stand under `rows` or `data` of an object, each under `row`, as the Hub's viewer sends them.
    """
    for line, values in objects(path, text):
        features = values.get("features")
        if features is None:
            yield line, values, names
            continue
        if isinstance(features, list):
            features = {one.get("name"): one for one in features if isinstance(one, dict)}
        found = {key: _class_names(feature) for key, feature in features.items()}
        names = names or {key: value for key, value in found.items() if value}
        inner = values.get("rows", values.get("data", [values] if _first_key(values, TOKEN_KEYS) else []))
        if not isinstance(inner, list) or not all(isinstance(row, dict) for row in inner):
            raise DataError(f"{path}:{line}: got {type_name(inner)}, expected an array of rows")
        for row in inner:
            row = row["row"] if isinstance(row.get("row"), dict) else row
            yield line, {key: value for key, value in row.items() if key != "features"}, names


def _class_names(feature: object) -> list[str]:
    """The names of a ClassLabel somewhere in a feature, in the order of their numbers; empty: none."""
    if isinstance(feature, list):
        return next(filter(None, map(_class_names, feature)), [])
    if not isinstance(feature, dict):
        return []
    names = feature.get("names")
    names = list(names.values()) if isinstance(names, dict) else names  # {"0": "O", "1": "B-PER"}
    return names if _is_strings(names) and names else _class_names(list(feature.values()))


def _tags(where: str, key: str, value: object, names: dict | Sequence[str]) -> list[str]:
    """The tags of a sentence; numbers as the names they have."""
    if _is_strings(value):
        return value
    if not isinstance(value, list) or not all(type(tag) is int for tag in value):
        raise DataError(f"{where}: got {str(value)[:60]} under {key!r}, expected a tag or its number a token")
    names = names.get(key, ()) if isinstance(names, dict) else names
    if not names:
        raise DataError(f"{where}: numbers under {key!r}, expected tags; --label_names FILE names them")
    wrong = next((tag for tag in value if not 0 <= tag < len(names)), None)
    if wrong is not None:
        raise DataError(
            f"{where}: number {wrong} under {key!r}, expected 0 to {len(names) - 1}, which have names"
        )
    return [names[tag] for tag in value]


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _first_key(values: dict, keys: Sequence[str]) -> str:
    return next((key for key in keys if key in values), "")


def _only_key(path: Path, line: int, values: dict, keys: Sequence[str]) -> str:
    """The one of the keys that the object has, or an empty string; DataError if it has several."""
    found = [key for key in keys if key in values]
    if len(found) > 1:
        raise DataError(f"{path}:{line}: keys {found[0]!r} and {found[1]!r}, expected one of them")
    return found[0] if found else ""


FORMAT = Format("tokens", read_tokens, looks_like, expects="JSON with an array under 'tokens' or 'words'")
