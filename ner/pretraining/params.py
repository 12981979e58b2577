"""What is pretrained, as a frozen dataclass: the params.json of `pretrain.py`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ner.config import from_mapping, locate_key
from ner.data.sentence import UNITS
from ner.errors import DataError
from ner.files import read_json
from ner.pretraining import masking, rows
from ner.training.optim import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One run of masked language modelling.  Defaults suit published weights of BERT-base's size."""

    encoder: Mapping[str, Any] = field(default_factory=dict)
    "sizes of an encoder from random weights (name: bert); unused with --bert_model_dir"
    vocab_size: int = 8000
    "pieces at most of the vocabulary learned from the text; unused with --bert_model_dir"
    do_lower_case: bool = False
    "of that vocabulary; false because capital letters tell names from words"
    unit: str = ""
    "char: every character is a token, as a tagger of characters reads; word: as BERT reads; empty: the "
    "model's, or char where the text is mostly Chinese"
    block_len: int = 256
    "pieces a row, special pieces included"
    packing: str = "blocks"
    "blocks: lines end to end, [SEP] between them, cut into rows of block_len; lines: a row a line"
    mask_rate: float = 0.15
    "share of the pieces to be guessed"
    masking: str = "token"
    "what is hidden together: token, word (with all its pieces) or span (of neighbouring words)"
    max_span: int = 4
    "words a span at most"
    tag_weight: float = 1.0
    "of the second target, the tag of every piece, where text is tagged (--tagged_text)"
    dropout: float | None = None
    "share of numbers and of attention weights set to 0 while pretraining; null: the encoder's own; 0 saves "
    "a third of the time on a CPU, and is usual where text is seen but once (Geiping and Goldstein 2023)"
    batch_tokens: int = 8192
    "cells of a batch, padding and special pieces included"
    gradient_accumulation_steps: int = 1
    "batches an optimiser step, of every process"
    activation_checkpointing: bool = False
    "of each layer of the encoder what goes in is kept, the rest computed again: less memory, more time"
    learning_rate: float = 1e-4
    "peak rate; about 1e-3 for a small encoder from random weights"
    weight_decay: float = 0.01
    "of matrices; biases and normalisation have none (AdamW, decoupled)"
    clip_grad: float = 1.0
    "largest norm of the whole gradient; 0: no clipping"
    schedule: str = "linear"
    "a name in ner/optim: linear, cosine, constant, after the warm-up"
    warmup: float = 0.1
    "share of the run in which the rate rises from 0"
    max_steps: int = 10_000
    "optimiser steps; the schedule ends there"
    max_minutes: float = 0.0
    "above 0: run and schedule end after so much time, evaluation included, and max_steps counts no more"
    eval_steps: int = 500
    "optimiser steps between evaluations on the held-out lines"
    save_steps: int = 1000
    "optimiser steps between checkpoints, each of them evaluated; one is written at the end besides"
    save_dtype: str = "float32"
    "of the finished model's weights: float32 or float16, half as large"

    def __post_init__(self):
        positive = ("batch_tokens", "gradient_accumulation_steps", "learning_rate", "max_steps")
        for name in (*positive, "max_span", "eval_steps", "save_steps"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        for name in ("tag_weight", "weight_decay", "clip_grad", "max_minutes"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.block_len >= 8, "block_len", self.block_len, "8 pieces or more, two of them special")
        _require(
            self.vocab_size >= 16, "vocab_size", self.vocab_size, "16 pieces or more, six of them special"
        )
        _require(0 <= (self.dropout or 0) < 1, "dropout", self.dropout, "0 <= p < 1, or null")
        _require(0 < self.mask_rate < 1, "mask_rate", self.mask_rate, "a share, 0 < rate < 1")
        _require(0 <= self.warmup <= 1, "warmup", self.warmup, "a share of the run, 0 to 1")
        choices = {"unit": ("", *UNITS), "packing": rows.PACKINGS, "masking": masking.UNITS}
        choices |= {"schedule": tuple(SCHEDULES), "save_dtype": ("float32", "float16")}
        for name, known in choices.items():
            _require(getattr(self, name) in known, name, getattr(self, name), f"one of {known}")


def _require(condition: bool, name: str, got: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name}: got {got!r}, expected {expected}")


def load_pretrain_config(path: Path | None, overrides: Sequence[str] = ()) -> PretrainConfig:
    """Reads params.json (None: defaults) and applies `key=value` overrides, values being JSON or else text.

    A key of the encoder is written `encoder.hidden_size=256`.
    """
    values = {} if path is None else read_json(path)
    config = from_mapping(PretrainConfig, values, str(path), lambda name: locate_key(path, name))
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise DataError(f"--set {override}: expected key=value")
        top, dot, inner = name.partition(".")
        if dot and top == "encoder":
            values = {**values, top: {**config.encoder, inner: _value(text)}}
        else:
            values = {**values, name: _value(text)}
        config = from_mapping(PretrainConfig, values, f"--set {override}")
    return config


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
