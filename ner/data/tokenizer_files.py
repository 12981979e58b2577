"""Tokenizers of model directories: the files of a published WordPiece tokenizer, read or refused by name."""

import re
from collections.abc import Mapping
from pathlib import Path

from ner.data.tokenizer import CLS, MASK, PAD, SEP, UNK, Added, Normalisation, WordPiece
from ner.errors import DataError
from ner.files import read_json, read_text

# published classes that cut text as BERT does
_CLASSES = re.compile(r"(Bert|Electra|DistilBert|Ernie|MobileBert|ConvBert)Tokenizer(Fast)?|")
_ANY_CLASS = ("PreTrainedTokenizerFast", "TokenizersBackend")  # tokenizer.json says how they cut


def load_tokenizer(model_dir: str | Path) -> WordPiece:
    """The tokenizer of a published or saved model directory.

    Reads the pieces from `vocab.txt`, or from a WordPiece `tokenizer.json`; each switch from
    `tokenizer_config.json`, else from `tokenizer.json`, else BERT's default; added pieces from these and
    `added_tokens.json`.  DataError if a file is malformed, no vocabulary is found, or text is cut otherwise.
    """
    model_dir = Path(model_dir)
    vocab, fast, config = (model_dir / n for n in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"))
    values = read_json(config) if config.exists() else {}
    check_class(values, config)
    if not vocab.exists() and not fast.exists():
        other = (model_dir / "spiece.model").exists()
        expected = "a WordPiece vocabulary: spiece.model is not read" if other else "a BERT model directory"
        raise DataError(f"{model_dir}: no vocab.txt and no tokenizer.json, expected {expected}")
    published = read_json(fast) if fast.exists() else {}
    pieces = _read_vocabulary(vocab) if vocab.exists() else _fast_vocabulary(published, fast)
    switches = _fast_switches(published, fast) | values
    switches = {name: switches[name] for name in Normalisation._fields if switches.get(name) is not None}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise DataError(f"{model_dir}: {name}: got {value!r:.40}, expected true or false")
    normalisation = Normalisation(**switches)
    try:
        added = _added_pieces(model_dir, published, values, pieces)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{model_dir}: added tokens: {error}") from None
    try:
        return WordPiece(pieces, normalisation, added)
    except ValueError as error:
        raise DataError(f"{vocab if vocab.exists() else fast}: {error}") from None


def check_class(values: Mapping, where: str | Path) -> None:
    """DataError, beginning with `where`, if a config names a tokenizer that does not cut text as BERT's."""
    name = values.get("tokenizer_class") or ""
    if not isinstance(name, str) or not (_CLASSES.fullmatch(name) or name in _ANY_CLASS):
        expected = "BertTokenizer or another that cuts alike"
        raise DataError(f"{where}: tokenizer_class: got {name!r:.60}, expected {expected}")
    if values.get("do_basic_tokenize") is False:
        raise DataError(f"{where}: do_basic_tokenize: got false, expected true")


def _read_vocabulary(path: Path) -> list[str]:
    """The lines without a byte order mark; blank ones at the end are none, no text is a blank piece."""
    text = read_text(path).removeprefix("\ufeff").rstrip("\r\n")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _added_pieces(model_dir: Path, published: Mapping, config: Mapping, pieces: list[str]) -> list[Added]:
    """The added pieces by their numbers, but BERT's special ones, which text never spells.

    TypeError, ValueError or the like if what the files say is malformed or leaves gaps.
    """
    special = _special_names(model_dir, config)
    path = model_dir / "added_tokens.json"
    found = {
        number: {"content": content, "special": content in special, "normalized": content not in special}
        for content, number in (read_json(path) if path.exists() else {}).items()
    }
    found |= {one["id"]: one for one in published.get("added_tokens") or ()}
    found |= {int(number): one for number, one in (config.get("added_tokens_decoder") or {}).items()}
    index = {piece: number for number, piece in enumerate(pieces)}
    for content in special:
        if content not in {one["content"] for one in found.values()}:
            number = index.get(content, max([len(pieces), *(number + 1 for number in found)]))
            found[number] = {"content": content, "special": True, "normalized": False}
    added, next_number = [], len(pieces)
    for number, values in sorted(found.items()):
        one = Added(**{name: values[name] for name in Added._fields if name in values})
        expected = index.get(one.content, next_number)
        if number != expected:
            raise ValueError(f"{one.content!r:.60} has number {number}, expected {expected}")
        if one.content not in (PAD, UNK, CLS, SEP, MASK):
            added.append(one)
        next_number += number == next_number
    return added


def _special_names(model_dir: Path, config: Mapping) -> list[str]:
    """Special pieces that the files list besides BERT's own, perhaps without a number."""
    path, names = model_dir / "special_tokens_map.json", []
    for values in (config, read_json(path) if path.exists() else {}):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            listed = values.get(key) or ()
            for one in listed.values() if isinstance(listed, dict) else listed:
                names.append(one["content"] if isinstance(one, dict) else one)
    return list(dict.fromkeys(names))


def _fast_switches(published: dict, path: Path) -> dict:
    for part, expected in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        value = published.get(part)
        if value is not None and (not isinstance(value, dict) or value.get("type") != expected):
            got = value.get("type") if isinstance(value, dict) else value
            raise DataError(f"{path}: {part}: got {got!r:.40}, expected {expected}")
    normalizer = published.get("normalizer") or {}
    return {
        "do_lower_case": normalizer.get("lowercase"),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
    }


def _fast_vocabulary(published: dict, path: Path) -> list[str]:
    model = published.get("model")
    kind = model.get("type", "WordPiece") if isinstance(model, dict) else None
    vocabulary = model.get("vocab") if kind == "WordPiece" else None
    if not isinstance(vocabulary, dict):
        raise DataError(f"{path}: model type {kind!r}, expected a WordPiece vocabulary")
    if (mark := model.get("continuing_subword_prefix", "##")) != "##":
        raise DataError(f"{path}: continuing_subword_prefix: got {mark!r:.20}, expected '##'")
    numbers = vocabulary.values()
    pieces = sorted(vocabulary, key=vocabulary.get) if all(type(n) is int for n in numbers) else []
    if not pieces or [vocabulary[piece] for piece in pieces] != list(range(len(pieces))):
        raise DataError(f"{path}: piece numbers with gaps, expected 0 to {len(pieces) - 1}")
    return pieces
