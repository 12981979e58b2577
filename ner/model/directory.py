"""Model directories: open, load, save."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ner.annotations.spans import SpanInventory
from ner.config import from_mapping, to_json
from ner.data.sentence import UNITS
from ner.data.tokenizer import WordPiece, load_tokenizer
from ner.data.windows import LONG_TEXT, Windows
from ner.data.words import guess_unit_of_vocabulary
from ner.encoders import ENCODERS
from ner.encoders.published import (
    PUBLISHED,
    config_path,
    encoder_config,
    load_encoder,
    own_tensors,
    published_names,
    read_config,
)
from ner.errors import DataError
from ner.heads import HEADS
from ner.model.build import build_head
from ner.model.features import build_features
from ner.model.manifest import check_model, check_sizes
from ner.model.published_tags import _tag_set
from ner.model.tagger import Tagger
from ner.tags import TagSet
from ner.tensors import read_weights, save_weights

# published embeddings may have a few more rows than the vocabulary has pieces (rounded sizes)
MAX_SPARE_ROWS = 127
PYTORCH_CRF = {"crf.transitions", "crf.start_transitions", "crf.end_transitions"}
FEATURES = "features."  # what the names of its tensors begin with in a file
# what a published config calls the dropout before the classifier, where not `classifier_dropout`
DROPOUT_KEYS = {"albert": "classifier_dropout_prob"}


@dataclass(frozen=True)
class Model:
    """A tagger and the facts it cannot be used without."""

    tagger: Tagger
    tokenizer: WordPiece
    unit: str
    max_len: int
    report: tuple[str, ...] = ()
    long_text: str = "windows"

    @property
    def windows(self) -> Windows:
        return Windows(self.max_len, long_text=self.long_text)

    @property
    def tag_set(self) -> TagSet:
        return self.tagger.head.tag_set


def open_encoder(model_dir: str | Path) -> tuple[nn.Module, WordPiece, list[str]]:
    """The encoder and the tokenizer of a published or saved model directory, and a report in words.

    Raises DataError: not a model directory, another architecture, a tensor missing or of another shape,
    a vocabulary that does not fit.
    """
    encoder, tokenizer, _, _, report = _open(model_dir)
    return encoder, tokenizer, [*_spare_rows(encoder, tokenizer), *report.sentences(str(model_dir))]


def resolve_model_dir(directory: str | Path, name: str = "best") -> Path:
    """A model directory as it is, or the checkpoint `name` of an experiment directory.

    DataError where there is neither, or where a manifest says that a file is damaged.
    """
    directory = Path(directory)
    model_dir = directory if config_path(directory).is_file() else directory / name
    if model_dir.is_dir():
        check_model(model_dir)
        return model_dir
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory, expected a trained experiment or a model directory")
    series = sorted(path.name for path in directory.glob("seed-*"))
    expected = (
        f"one run of this series, such as {directory / series[0]}"
        if series
        else ("a trained experiment or a model directory")
    )
    raise DataError(f"{directory}: no config.json and no {name}/, expected {expected}")


def load(
    model_dir: str | Path,
    *,
    unit: str | None = None,
    max_len: int | None = None,
    long_text: str | None = None,
) -> Model:
    """Opens a model directory that can tag: one of ours, or a published token classifier of BERT's family.

    Where the config, being another program's, names no head, it is a CRF if pytorch-crf's tensors are there.
    `unit` overrules how raw text is cut, `max_len` the pieces a window, `long_text` what becomes of more.
    Raises DataError as `open_encoder`, and where the directory has no tags or no classifier or the window
    does not fit.
    """
    encoder, tokenizer, config, weights, report = _open(model_dir)
    own = _own(config, model_dir)
    tag_set = _tag_set(config, own, model_dir)
    dropout = config.get(DROPOUT_KEYS.get(encoder.file_prefix, "classifier_dropout"))
    dropout = 0.1 if dropout is None else dropout
    where = str(config_path(model_dir))
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise DataError(f"{where}: classifier_dropout: got {dropout!r:.40}, expected 0 <= p < 1")
    try:
        features = build_features(encoder, own.get("layers", "last"), own.get("context", "none"))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    width = features.width if features else encoder.width
    facts = _facts(own, where)
    name = own.get("head", "crf" if weights.keys() >= PYTORCH_CRF else "softmax")
    inventories = {"spans": SpanInventory(tag_set, **facts)}
    head = build_head(name, width, inventories, {"dropout": dropout}, where=where)
    try:
        load_encoder(head, weights, where=model_dir)
        if features:
            own_part = {n.removeprefix(FEATURES): t for n, t in weights.items() if n.startswith(FEATURES)}
            load_encoder(features, own_part, where=model_dir)
    except ValueError as error:
        raise DataError(f"{error}; only a directory trained for tagging has a classifier") from None
    unit, max_len = unit_and_window(model_dir, encoder, tokenizer, unit=unit, max_len=max_len)
    tagger = Tagger(encoder, head, features).eval()
    upper = set(_upper_tensors(tagger))
    unused = [name for name in report.unused if name not in upper]
    report = report._replace(loaded=[*report.loaded, *upper], unused=unused)
    sentences = (*_spare_rows(encoder, tokenizer), *report.sentences(str(model_dir)))
    long_text = long_text or own.get("long_text", "windows")
    if long_text not in LONG_TEXT:
        raise DataError(f"{where}: long_text: got {long_text!r}, expected one of {', '.join(LONG_TEXT)}")
    return Model(tagger, tokenizer, unit, max_len, sentences, long_text)


def unit_and_window(
    model_dir: str | Path,
    encoder: nn.Module,
    tokenizer: WordPiece,
    *,
    unit: str | None = None,
    max_len: int | None = None,
) -> tuple[str, int]:
    """How raw text is cut and the pieces a window: as stated, as the directory says, or guessed."""
    own = _own(read_config(model_dir), model_dir)
    unit = unit or own.get("unit") or guess_unit_of_vocabulary(tokenizer.vocabulary)
    if unit not in UNITS:
        raise DataError(f"{model_dir}: unit {unit!r}, expected char or word")
    return unit, _max_len(own.get("max_len") if max_len is None else max_len, encoder)


def _own(config: Mapping, model_dir: str | Path) -> dict:
    """What a config says that only our programs know."""
    own = config.get("ner", {})
    if not isinstance(own, dict):
        raise DataError(f"{config_path(model_dir)}: ner: got {own!r}, expected an object")
    return own


def save(model_dir: str | Path, model: Model) -> None:
    """Writes `config.json`, `model.safetensors` and the vocabulary into an existing directory.

    The tensors bear the published names, so a softmax model over BERT or a relative opens in transformers'
    AutoModelForTokenClassification; the config of any other head names an architecture of its own.
    """
    model_dir = Path(model_dir)
    tagger = model.tagger
    prefix = tagger.encoder.file_prefix
    tensors = {f"{prefix}.{name}": tensor for name, tensor in own_tensors(tagger.encoder).items()}
    tensors |= _upper_tensors(tagger)
    (model_dir / "config.json").write_text(to_json(config_of(model)), encoding="utf-8")
    model.tokenizer.save(model_dir)
    save_weights(model_dir / "model.safetensors", tensors)


def restore_weights(model_dir: str | Path, tagger: Tagger) -> None:
    """Fills a tagger from a directory that `save` wrote of one like it.

    ValueError where the weights cannot be read, RuntimeError where they are another tagger's.
    """
    prefix, encoder = tagger.encoder.file_prefix, tagger.encoder
    names = zip(own_tensors(encoder), encoder.state_dict(), strict=True)
    inner = {f"{prefix}.{published}": f"encoder.{name}" for published, name in names}
    inner |= {name: f"head.{name}" for name in tagger.head.state_dict()}
    tagger.load_state_dict({inner.get(name, name): t for name, t in read_weights(model_dir).items()})


def _upper_tensors(tagger: Tagger) -> dict[str, torch.Tensor]:
    """What is above the encoder, under the names that a file has for it."""
    features = tagger.features.state_dict() if tagger.features else {}
    return tagger.head.state_dict() | {FEATURES + name: tensor for name, tensor in features.items()}


def _open(model_dir: str | Path):
    """Encoder, tokenizer, config, all tensors under published names, and what was loaded."""
    try:
        check_sizes(Path(model_dir))
        config = read_config(model_dir)
        kind, options = _encoder_of(config, config_path(model_dir))
        tokenizer = load_tokenizer(model_dir)
        weights = read_weights(model_dir)
        build = partial(kind, options, vocab_size=_n_rows(config, tokenizer, model_dir))
        _check_numbers(build, options, weights, config_path(model_dir))
        encoder = build()
        prefixes = (f"{encoder.file_prefix}.", "ernie.")
        use_task_id = bool(config.get("use_task_id"))
        weights = published_names(weights, prefixes, use_task_id=use_task_id)
        report = load_encoder(encoder, weights, where=model_dir)
    except ValueError as error:
        raise DataError(str(error)) from None
    except RecursionError:
        raise DataError(f"{config_path(model_dir)}: not JSON that can be read, nested too deeply") from None
    return encoder, tokenizer, config, weights, report


def _check_numbers(
    build: Callable[[], nn.Module], options: Any, weights: Mapping[str, torch.Tensor], where: Path
) -> None:
    """ValueError where the config promises more numbers than the weights hold: before memory is asked for."""
    for name in ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"):
        if getattr(options, name, 1) > len(weights):
            raise ValueError(
                f"{where}: {name}: got {getattr(options, name)}, the weights have {len(weights)} tensors"
            )
    try:
        with torch.device("meta"):
            empty = build()
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{where}: sizes that no encoder can have, {reason}") from None
    n_promised = sum(tensor.numel() for tensor in empty.state_dict().values())
    n_there = sum(tensor.numel() for tensor in weights.values())
    if n_promised > 2 * n_there:  # what is less wrong is told apart tensor by tensor
        raise ValueError(f"{where}: an encoder of {n_promised:,} numbers, the weights have {n_there:,}")


def _encoder_of(config: Mapping, where: Path) -> tuple[type, Any]:
    """The type and the options of the encoder that a config describes."""
    name = config.get("model_type", "bert")
    if name not in list(ENCODERS) or name in PUBLISHED:
        options = encoder_config(config, where)
        return PUBLISHED[name], options
    kind = ENCODERS[name]
    known = {field.name for field in fields(kind.Config)}
    values = {key: value for key, value in config.items() if key in known}
    return kind, from_mapping(kind.Config, values, str(where))


def _n_rows(config: Mapping, tokenizer: WordPiece, model_dir: str | Path) -> int:
    """Rows of the embedding, which may be a few more than the vocabulary has pieces."""
    n_rows = config.get("vocab_size", len(tokenizer))
    if not isinstance(n_rows, int) or not 0 <= n_rows - len(tokenizer) <= MAX_SPARE_ROWS:
        raise DataError(
            f"{model_dir}: the vocabulary has {len(tokenizer)} pieces, expected {n_rows} as its config says"
        )
    return n_rows


def _spare_rows(encoder: nn.Module, tokenizer: WordPiece) -> list[str]:
    spare = encoder.vocab_size - len(tokenizer)
    return (
        [f"the vocabulary has {len(tokenizer)} pieces, {spare} rows of the embedding are spare"]
        if spare
        else []
    )


def _max_len(wanted: int | None, encoder: nn.Module) -> int:
    limit = getattr(encoder.config, "max_position_embeddings", None)
    max_len = min(512, limit or 512) if wanted is None else wanted
    if not isinstance(max_len, int) or max_len < 8 or (limit and max_len > limit):
        most = f"at most {limit} as the encoder has positions" if limit else "any number above"
        raise DataError(f"max_len: got {max_len}, expected 8 or more, {most}")
    return max_len


def _facts(own: Mapping, where: str) -> dict:
    """What the head was told of train (`ner.tags.span_facts`), as `save` wrote it."""
    facts = {name: own[name] for name in ("max_span_len", "nested") if name in own}
    length, nested = facts.get("max_span_len", 1), facts.get("nested", False)
    if type(length) is not int or length < 1:
        raise DataError(f"{where}: max_span_len: got {length!r}, expected a whole number above 0")
    if not isinstance(nested, bool):
        raise DataError(f"{where}: nested: got {nested!r}, expected true or false")
    return facts


def config_of(model: Model) -> dict:
    """What `save` writes into `config.json`: all that a model is besides weights and vocabulary."""
    encoder, head, tag_set = model.tagger.encoder, model.tagger.head, model.tag_set
    head_name = next(name for name, kind in HEADS.items() if type(head) is kind)
    own_head = "" if head_name == "softmax" else head_name.title().replace("_", "")
    features = model.tagger.features
    chosen = {"layers": features.layers, "context": features.kind} if features else {}
    return {
        "architectures": [
            f"{type(encoder).__name__}{'Features' * bool(features)}{own_head}ForTokenClassification"
        ],
        "model_type": encoder.file_prefix,
        **asdict(encoder.config),
        "vocab_size": encoder.vocab_size,
        "pad_token_id": model.tokenizer.pad_id,
        DROPOUT_KEYS.get(encoder.file_prefix, "classifier_dropout"): head.dropout.p,
        "id2label": {str(i): tag for i, tag in enumerate(tag_set.tags)},
        "label2id": dict(tag_set.index),
        "ner": {
            "head": head_name,
            **{fact: getattr(head, fact) for fact in head.facts},
            **chosen,
            "scheme": tag_set.scheme,
            "unit": model.unit,
            "max_len": model.max_len,
            "long_text": model.long_text,
        },
    }
