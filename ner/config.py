"""params.json: what is trained, as a frozen dataclass.  Where and how are on the command line.

Facts of the data (tags, unit, vocabulary, steps an epoch) are arguments of the code, never keys here.
"""

import difflib
import json
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from ner.corpus import DataError, read_json, read_text
from ner.truncation import LONG_TEXT

LARGEST = sys.float_info.max  # a whole number in JSON may be larger


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment.  The names of the first ten are those of lemonhu/NER-BERT-pytorch."""

    full_finetuning: bool = True
    "False trains the head alone, the encoder stays as it is"
    max_len: int = 128
    "pieces an encoder window, its two special pieces included; longer sentences are read in several windows"
    learning_rate: float = 5e-5
    "peak rate of the encoder"
    weight_decay: float = 0.01
    "of matrices; biases and normalisation have none (AdamW, decoupled)"
    clip_grad: float = 1.0
    "largest norm of the whole gradient; 0: no clipping"
    batch_size: int = 32
    "mean number of sentences a batch: the token budget is batch_size x mean window of train"
    epoch_num: int = 10
    "epochs at most; the schedule ends there"
    min_epoch_num: int = 5
    "epochs that patience cannot stop the run before or at; may exceed epoch_num"
    patience: float = 0.02
    "an epoch counts as without gain unless it raises the best val F1 by this; in points: 0.02 is 0.0002"
    patience_num: int = 5
    "epochs in a row without gain after which the run stops, once min_epoch_num are past"
    long_text: str = "windows"
    "of sentences longer than max_len: windows reads all; head, tail and head_tail one window, no more"
    layers: str | int = "last"
    "of the encoder, for the head: last, concat4, max4 (of the last four), mix (learned), or a number from 1"
    context: str = "none"
    "between encoder and head: none, or bilstm over the tokens of the whole sentence"
    head: str = "softmax"
    "a name in ner/heads: softmax, crf, span, global_pointer"
    scheme: str = ""
    "tags inside the model: BIO or BIOES; empty: BIOES, but BIO with span and global_pointer, which have none"
    head_dropout: float = 0.1
    "dropout before the classifier"
    loss: str = "ce"
    "a name in ner/heads/losses, of the softmax and the span head: ce (cross-entropy), focal, dice"
    label_smoothing: float = 0.0
    "share of a token's target that goes to all tags alike, with the loss ce; 0: none"
    adversarial: str = "none"
    "none, or a name in ner/objectives: fgm, pgd"
    adversarial_epsilon: float = 1.0
    "how far the word vectors of a row are moved, together, as a Euclidean norm"
    rdrop: float = 0.0
    "weight of the divergence of two passes that differ by dropout; 0: one pass"
    multi_dropout: int = 0
    "dropouts before the classifier whose losses are averaged; 0: one"
    ema: float = 0.0
    "decay of a moving average of the weights, which is scored and saved in their place; 0: none"
    distillation_weight: float = 0.5
    "with --teacher: the share of its soft labels in the loss, gold has the rest"
    distillation_temperature: float = 1.0
    "with --teacher: what scores are divided by before they are compared"
    head_learning_rate: float = 0.0
    "peak rate of the head; 0: learning_rate"
    transition_learning_rate: float = 0.0
    "peak rate of a CRF's transitions; 0: the head's"
    layer_decay: float = 0.0
    "what each encoder layer's rate is of the one above it, such as 0.95, or 0.385 = 1 / 2.6; 0: all alike"
    freeze_layers: int | str = 0
    "encoder layers, from the lowest, that stay as they are, embeddings included; 'embeddings': these alone"
    unfreeze_every: int = 0
    "epochs after which the next layer joins, from the top, the head learning alone at first; 0: all at once"
    schedule: str = "linear"
    "a name in ner/optim: linear, cosine, constant or triangular, after the warm-up"
    warmup: float = 0.1
    "share of all steps in which the rate rises from 0"
    batch_tokens: int = 0
    "token budget of a batch in pieces, padding included; 0: from batch_size"
    gradient_accumulation_steps: int = 1
    "batches an optimiser step, of every process"
    activation_checkpointing: bool = False
    "of each layer of the encoder what goes in is kept, the rest computed again: less memory, more time"
    save_steps: int = 0
    "a checkpoint every so many optimiser steps, besides the one at each epoch's end; 0: none"
    encoder: Mapping[str, Any] = field(default_factory=dict)
    "name (in ner/encoders) and sizes of an encoder without published weights; unused with --bert_model_dir"

    def __post_init__(self):
        positive = ("learning_rate", "batch_size", "epoch_num", "gradient_accumulation_steps")
        not_negative = (
            *("weight_decay", "clip_grad", "min_epoch_num", "patience", "patience_num"),
            *("head_learning_rate", "transition_learning_rate", "unfreeze_every", "rdrop", "multi_dropout"),
            *("batch_tokens", "save_steps"),
        )
        bounded = (
            *("max_len", "batch_size", "epoch_num"),
            *("batch_tokens", "save_steps", "gradient_accumulation_steps"),
        )
        for name in bounded:
            _require(getattr(self, name) < 2**31, name, getattr(self, name), "a number below 2^31")
        for name in positive:
            _require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        for name in not_negative:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.max_len >= 8, "max_len", self.max_len, "8 pieces or more, two of them special")
        _require(self.long_text in LONG_TEXT, "long_text", self.long_text, f"one of {', '.join(LONG_TEXT)}")
        _require(0 <= self.warmup <= 1, "warmup", self.warmup, "a share of the steps, 0 to 1")
        _require(0 <= self.head_dropout < 1, "head_dropout", self.head_dropout, "0 <= p < 1")
        _require(0 <= self.layer_decay <= 1, "layer_decay", self.layer_decay, "0 <= share <= 1")
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "0 <= share < 1")
        _require(0 <= self.ema < 1, "ema", self.ema, "0 <= decay < 1")
        weight, temperature = self.distillation_weight, self.distillation_temperature
        _require(0 <= weight <= 1, "distillation_weight", weight, "a share, 0 to 1")
        _require(temperature > 0, "distillation_temperature", temperature, "above 0")
        _require(self.adversarial_epsilon > 0, "adversarial_epsilon", self.adversarial_epsilon, "above 0")
        if self.rdrop:
            _require(not self.multi_dropout, "multi_dropout", self.multi_dropout, "0 with rdrop: one of them")
        if self.multi_dropout > 1:
            _require(self.head_dropout > 0, "multi_dropout", self.multi_dropout, "0 without head_dropout")
        if self.label_smoothing:
            _require(
                self.loss == "ce", "label_smoothing", self.label_smoothing, "0 with a loss other than ce"
            )
        freeze = self.freeze_layers
        frozen = freeze == "embeddings" or (isinstance(freeze, int) and freeze >= 0)
        _require(frozen, "freeze_layers", freeze, "a number of layers, or 'embeddings'")
        if not self.full_finetuning:
            for name in ("layer_decay", "freeze_layers", "unfreeze_every"):
                _require(
                    not getattr(self, name), name, getattr(self, name), "0 where full_finetuning is false"
                )
            recompute = self.activation_checkpointing
            _require(not recompute, "activation_checkpointing", recompute, "false with full_finetuning false")
        _require(self.scheme in ("", "BIO", "BIOES"), "scheme", self.scheme, "BIO or BIOES")

    @property
    def n_frozen(self) -> int:
        """Depths that never learn: 0 none, 1 the embeddings, k + 1 these and the first k layers."""
        if self.freeze_layers == "embeddings":
            return 1
        return self.freeze_layers + 1 if self.freeze_layers else 0


def _require(condition: bool, name: str, got: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name}: got {got!r}, expected {expected}")


def from_mapping(
    cls: type, values: Mapping[str, Any], where: str, locate: Callable[[str], str] | None = None
):
    """Builds the dataclass `cls` from JSON values; DataError names an unknown key, a wrong type or value.

    The error's line begins with `where`, or with what `locate` says of the key.
    """
    locate = locate or (lambda name: where)
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    for name, value in values.items():
        if name not in known:
            raise DataError(f"{locate(name)}: unknown key {name!r}, {_nearest(name, known)}")
        if not _is_a(value, hints[name]):
            raise DataError(f"{locate(name)}: {name}: got {value!r}, expected {_words(hints[name])}")
    try:
        return cls(**values)
    except ValueError as error:
        raise DataError(f"{locate(str(error).partition(':')[0])}: {error}") from None


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"the nearest known one is {close[0]!r}" if close else f"expected one of {', '.join(known)}"


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in typing.get_args(kind))
    kind = typing.get_origin(kind) or kind
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
    if isinstance(kind, UnionType):
        return " or ".join(_words(one) for one in typing.get_args(kind))
    return names.get(kind, "an object")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads params.json and applies `key=value` overrides; a value is JSON, or else text.

    A key of the encoder is written `encoder.hidden_size=256`.  What keys must be together is asked of the
    whole, not of each override in turn.
    """
    config = from_mapping(Config, read_json(path), str(path), lambda name: locate_key(path, name))
    values: dict[str, Any] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise DataError(f"--set {override}: expected key=value")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        top, dot, inner = name.partition(".")
        if dot and top == "encoder":
            value, name = {**values.get(top, config.encoder), inner: value}, top
        values[name] = getattr(from_mapping(Config, {name: value}, f"--set {override}"), name)
    try:
        return replace(config, **values)
    except ValueError as error:
        raise DataError(f"--set {' '.join(overrides)}: {error}") from None


def locate_key(path: str | Path, name: str) -> str:
    """`file:line` of the first line of a JSON file that holds the key; the file alone where none does."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if f'"{name}"' in line:
            return f"{path}:{number}"
    return str(path)


def to_json(values: Any) -> str:
    """Pretty JSON of a dataclass or a mapping, one trailing newline."""
    if hasattr(values, "__dataclass_fields__"):
        values = asdict(values)
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
