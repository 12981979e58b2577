"""params.json of pretrain.py: what is pretrained.  Where and how is on the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ner.config import Options, option
from ner.data.sentence import UNITS
from ner.pretraining.masking import MASKING_UNITS
from ner.training.optim import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Options):
    """One run of masked language modelling.  The defaults suit published weights of BERT-base's size."""

    encoder: Mapping[str, Any] = option(default_factory=dict)
    "sizes of an encoder with random weights (name: bert); unused with --bert_model_dir"
    vocab_size: int = option(8000, low=16, expected="16 pieces or more, six of them special")
    "largest size of the vocabulary that is learned from the text; unused with --bert_model_dir"
    do_lower_case: bool = False
    "lower case in that vocabulary; false because capital letters tell names from words"
    unit: str = option("", choices=("", *UNITS))
    "char: every character is a token, as for a tagger of characters; word: tokens as BERT reads them; "
    "empty: the model's own unit, or for a new model char if the text is mostly Chinese"
    block_len: int = option(256, low=8, expected="8 pieces or more, two of them special")
    "pieces of a row, special pieces included"
    packing: str = option("blocks", choices=("blocks", "lines"))
    "blocks: lines end to end with [SEP] between them, cut into rows of block_len; lines: one row a line"
    mask_rate: float = option(0.15, above=0, below=1, expected="a share, 0 < rate < 1")
    "share of the pieces that the model guesses"
    masking: str = option("token", choices=MASKING_UNITS)
    "pieces that are hidden together: token, word (all its pieces) or span (neighbouring words)"
    max_span: int = option(4, above=0)
    "largest number of words in a span"
    tag_weight: float = option(1.0, low=0)
    "weight of the second target, the tag of every piece, for tagged text (--tagged_text)"
    dropout: float | None = option(None, low=0, below=1, expected="0 <= p < 1, or null")
    "dropout of states and of attention weights during pretraining; null: the encoder's own; 0 saves a third "
    "of the time on a CPU, and is usual if the text is seen only once (Geiping and Goldstein 2023)"
    batch_tokens: int = option(8192, above=0)
    "cells of a batch, padding and special pieces included"
    gradient_accumulation_steps: int = option(1, above=0)
    "batches of each process in one optimiser step"
    activation_checkpointing: bool = False
    "recompute activations in the backward pass: less memory, one more forward pass"
    learning_rate: float = option(1e-4, above=0)
    "peak learning rate; about 1e-3 suits a small encoder with random weights"
    weight_decay: float = option(0.01, low=0)
    "decoupled weight decay (AdamW) of matrices; biases and normalisation have none"
    clip_grad: float = option(1.0, low=0)
    "largest norm of the gradient; 0: no clipping"
    schedule: str = option("linear", choices=SCHEDULES)
    "how the learning rate falls after the warm-up: a name in ner/training/optim"
    warmup: float = option(0.1, low=0, high=1, expected="a share of the run, 0 to 1")
    "share of the run in which the learning rate rises from 0"
    max_steps: int = option(10_000, above=0)
    "optimiser steps; the schedule ends there"
    max_minutes: float = option(0.0, low=0)
    "above 0: run and schedule end after this time, evaluation included, and max_steps is unused"
    eval_steps: int = option(500, above=0)
    "optimiser steps between two evaluations on the held-out lines"
    save_steps: int = option(1000, above=0)
    "optimiser steps between two checkpoints; each is evaluated, and one more is saved at the end"
    save_dtype: str = option("float32", choices=("float32", "float16"))
    "dtype of the finished model's weights: float32, or float16, which takes half the space"
