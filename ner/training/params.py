"""params.json of train.py: what is trained.  Where and how it is trained is on the command line.

Facts of the data (labels, unit, vocabulary, steps of an epoch) are arguments of the code, never keys here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ner.config import Options, option, require
from ner.data.windows import LONG_TEXT
from ner.heads import HEADS
from ner.heads.losses import LOSSES
from ner.model.features import CONTEXTS
from ner.training.objectives import ADVERSARIES
from ner.training.optim import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """One experiment.  The names of the first ten keys are those of lemonhu/NER-BERT-pytorch."""

    full_finetuning: bool = True
    "false: only the head is trained, the encoder is frozen"
    max_len: int = option(128, low=8, below=2**31)
    "pieces of an encoder window, two special ones included; longer sentences are read in several windows"
    learning_rate: float = option(5e-5, above=0)
    "peak learning rate of the encoder"
    weight_decay: float = option(0.01, low=0)
    "decoupled weight decay (AdamW) of matrices; biases and normalisation have none"
    clip_grad: float = option(1.0, low=0)
    "largest norm of the gradient; 0: no clipping"
    batch_size: int = option(32, above=0, below=2**31)
    "mean number of sentences in a batch: the token budget is batch_size x mean window of train"
    epoch_num: int = option(10, above=0, below=2**31)
    "number of epochs; the schedule ends there"
    min_epoch_num: int = option(5, low=0)
    "patience cannot stop the run before or at this epoch; may be larger than epoch_num"
    patience: float = option(0.02, low=0)
    "an epoch without gain raises the best val F1 by less than this; in F1 points, so 0.02 is 0.0002"
    patience_num: int = option(5, low=0)
    "the run stops after this many epochs in a row without gain, once min_epoch_num is past"
    long_text: str = option("windows", choices=LONG_TEXT)
    "sentences longer than max_len: windows reads them whole; head, tail and head_tail truncate them"
    layers: str | int = "last"
    "encoder layers for the head: last, concat4, max4 (of the last four), mix (learned), or a number from 1"
    context: str = option("none", choices=CONTEXTS)
    "between encoder and head: none, or a bilstm over the tokens of the whole sentence"
    head: str | Mapping[str, Any] = "softmax"
    "a name in ner/heads, or an object with that name and the head's options"
    scheme: str = option("", choices=("", "BIO", "BIOES"), expected="BIO or BIOES")
    "tag scheme inside the model; empty: BIOES for heads that have tags, else BIO"
    head_dropout: float = option(0.1, low=0, below=1, expected="0 <= p < 1")
    "dropout before the classifier"
    loss: str = option("ce", choices=LOSSES)
    "a name in ner/heads/losses, for heads that are classifiers: ce is cross-entropy"
    label_smoothing: float = option(0.0, low=0, below=1, expected="0 <= share < 1")
    "share of a token's target that is spread over all tags, for the loss ce; 0: none"
    adversarial: str = option("none", choices=("none", *ADVERSARIES))
    "adversarial training: none, or a name in ner/training/objectives"
    adversarial_epsilon: float = option(1.0, above=0, expected="above 0")
    "Euclidean norm of the perturbation of the word vectors of one row"
    rdrop: float = option(0.0, low=0)
    "weight of the divergence between two passes with different dropout; 0: one pass"
    multi_dropout: int = option(0, low=0)
    "number of dropouts before the classifier whose losses are averaged; 0: one"
    ema: float = option(0.0, low=0, below=1, expected="0 <= decay < 1")
    "decay of a moving average of the weights, which is scored and saved in their place; 0: none"
    distillation_weight: float = option(0.5, low=0, high=1, expected="a share, 0 to 1")
    "with --teacher: share of the teacher's soft labels in the loss; gold has the rest"
    distillation_temperature: float = option(1.0, above=0, expected="above 0")
    "with --teacher: scores are divided by this before they are compared"
    head_learning_rate: float = option(0.0, low=0)
    "peak learning rate of the head; 0: learning_rate"
    transition_learning_rate: float = option(0.0, low=0)
    "peak learning rate of a CRF's transitions; 0: the head's rate"
    layer_decay: float = option(0.0, low=0, high=1, expected="0 <= share <= 1")
    "ratio of a layer's learning rate to the rate of the layer above, e.g. 0.95; 0: equal rates"
    freeze_layers: int | str = option(0, low=0, expected="a number of layers, or 'embeddings'")
    "number of frozen encoder layers, from the lowest, embeddings included; 'embeddings': only these"
    unfreeze_every: int = option(0, low=0)
    "gradual unfreezing: the head learns alone; a layer joins, from the top, every so many epochs; 0: off"
    schedule: str = option("linear", choices=SCHEDULES)
    "how the learning rate falls after the warm-up: a name in ner/training/optim"
    warmup: float = option(0.1, low=0, high=1, expected="a share of the steps, 0 to 1")
    "share of all steps in which the learning rate rises from 0"
    batch_tokens: int = option(0, low=0, below=2**31)
    "token budget of a batch in pieces, padding included; 0: from batch_size"
    gradient_accumulation_steps: int = option(1, above=0, below=2**31)
    "batches of each process in one optimiser step"
    activation_checkpointing: bool = False
    "recompute activations in the backward pass: less memory, one more forward pass"
    save_steps: int = option(0, low=0, below=2**31)
    "save a checkpoint every this many optimiser steps, besides the one after each epoch; 0: none"
    objective: Mapping[str, Any] = option(default_factory=dict)
    "name (in ner/training/objectives) and options of an objective that has no key of its own above"
    encoder: Mapping[str, Any] = option(default_factory=dict)
    "name and sizes of an encoder without published weights; unused with --bert_model_dir"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.head_name in list(HEADS), "head", self.head_name, f"one of {', '.join(HEADS)}")
        frozen = isinstance(self.freeze_layers, int) or self.freeze_layers == "embeddings"
        require(frozen, "freeze_layers", self.freeze_layers, "a number of layers, or 'embeddings'")
        of_layers = ("layer_decay", "freeze_layers", "unfreeze_every")
        is_frozen, no_dropout = not self.full_finetuning, self.multi_dropout > 1 and self.head_dropout <= 0
        for name, must_be_zero, expected in (
            ("multi_dropout", self.rdrop, "0 with rdrop: one of them"),
            ("multi_dropout", no_dropout, "0 without head_dropout"),
            ("label_smoothing", self.loss != "ce", "0 with a loss other than ce"),
            *((name, is_frozen, "0 if full_finetuning is false") for name in of_layers),
            ("activation_checkpointing", is_frozen, "false with full_finetuning false"),
        ):
            value = getattr(self, name)
            require(not (must_be_zero and value), name, value, expected)

    @property
    def head_name(self) -> str:
        return self.head["name"] if isinstance(self.head, Mapping) and "name" in self.head else str(self.head)

    @property
    def n_frozen(self) -> int:
        """Number of frozen depths: 0 none, 1 the embeddings, k + 1 the embeddings and the first k layers."""
        if self.freeze_layers == "embeddings":
            return 1
        return self.freeze_layers + 1 if self.freeze_layers else 0
