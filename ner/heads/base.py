"""What every head provides.  A head overrides a method for each further ability; the default raises an error
that names the head."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from ner.annotations import Answer
from ner.config import Options, option
from ner.data.batch import Batch
from ner.errors import DataError
from ner.heads.losses import LOSSES, cross_entropy
from ner.layers.dropout import Dropout
from ner.tags import Span, TagSet, outermost


class Hidden(NamedTuple):
    """What a head sees of the encoder, sentence first.

    tokens   (B, T, W) float, the state of the piece that is read for each token; padding is finite
    cls      (B, N, H) float, the state of [CLS] in each window; (B, N, 4 H) with layers concat4
    windows  (B, N)    bool, True = the sentence has this window
    """

    tokens: Tensor
    cls: Tensor
    windows: Tensor


@dataclass(frozen=True, kw_only=True)
class HeadOptions(Options):
    """Options of every head; a head with more has a subclass."""

    dropout: float = option(0.1, low=0, below=1, expected="0 <= p < 1", flat="head_dropout")
    "share of the hidden state's numbers set to 0 before the classifier in training"


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(HeadOptions):
    """Options of heads that classify tokens."""

    loss: str = option("ce", choices=LOSSES, flat="loss")
    "a name in ner/heads/losses"
    label_smoothing: float = option(0.0, low=0, below=1, flat="label_smoothing")
    "share of a token's target that is spread over all classes, for the loss ce"

    @property
    def criterion(self) -> Callable[[Tensor, Tensor], Tensor]:
        smoothed = partial(cross_entropy, smoothing=self.label_smoothing)
        return smoothed if self.loss == "ce" else LOSSES[self.loss]


class Head(nn.Module):
    """`inventories` holds for each of its annotations what the head must know of it, such as the labels."""

    annotations: ClassVar[tuple[str, ...]] = ("spans",)
    "kinds of gold that the head learns and answers; the first one is the headline"
    Options: ClassVar[type[HeadOptions]] = HeadOptions
    schemes: ClassVar[tuple[str, ...]] = ("BIO",)
    "tag schemes it can work in; BIO alone if it knows labels but no tags"
    default_scheme: ClassVar[str] = "BIO"
    facts: ClassVar[tuple[str, ...]] = ()
    "fields of the inventory that config.json keeps for it"
    scores_tags: ClassVar[bool] = False
    "true if it has `probabilities` and `soft_loss`, which distillation needs"
    is_likelihood: ClassVar[bool] = True
    "true if the loss is -log of a probability of the gold"

    def __init__(self, width: int, inventories: Mapping[str, Any], options: HeadOptions | None = None):
        super().__init__()
        self.inventories = dict(inventories)
        self.options = options or self.Options()
        self.dropout = Dropout(self.options.dropout)

    @property
    def tag_set(self) -> TagSet:
        return self.inventories["spans"].tag_set

    def scores(self, hidden: Hidden, mask: Tensor) -> Any:
        """A tensor or a NamedTuple of tensors, sentence first; only the head looks inside."""
        raise NotImplementedError

    def loss(self, scores: Any, batch: Batch) -> Tensor:
        """(B,) float32, nats a sentence."""
        raise NotImplementedError

    def decode(self, scores: Any, batch: Batch) -> Sequence[Any]:
        """The predicted value of each sentence, for a head of one annotation."""
        raise NotImplementedError

    def answers(self, scores: Any, batch: Batch) -> list[Answer]:
        """The predicted values of each sentence, by the name of the annotation."""
        (name,) = self.annotations
        return [{name: value} for value in self.decode(scores, batch)]

    def describe(self) -> str:
        """What the head chooses among, in words."""
        raise NotImplementedError

    def learnable(self, name: str, value: Any) -> Any:
        """The part of a gold value that the head can learn and find; the rest is scored as missed."""
        return value

    def reason_missed(self, name: str, item: Any) -> str:
        """Why `learnable` leaves an item out, as a predicate of such items: "overlap others"."""
        return "overlap others"

    def transition_parameters(self) -> list[nn.Parameter]:
        """Learned scores of neighbouring tags, which may have a learning rate of their own."""
        return []

    def divergence(self, scores: Any, other: Any, batch: Batch) -> Tensor:
        """(B,): KL(p, q) + KL(q, p) between two passes, in nats a sentence (R-Drop)."""
        raise DataError(f"{type(self).__name__} has no divergence between two passes")

    def probabilities(self, scores: Any, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        """(B, T, K): probability of each tag at each token, scores divided by `temperature`; no gradient."""
        raise DataError(f"{type(self).__name__} has no probabilities of tags, expected head softmax or crf")

    def soft_loss(self, scores: Any, batch: Batch, *, temperature: float = 1.0) -> Tensor:
        """(B,): cross-entropy of the teacher's probabilities `batch.gold["soft_tags"]`, in nats.

        Times the squared temperature, which keeps the size of the gradient (Hinton, Vinyals and Dean 2015).
        """
        raise DataError(f"{type(self).__name__} cannot learn from soft labels, expected head softmax or crf")


class TokenClassifier(Head):
    """Classifies tokens; the spans of a sentence do not overlap."""

    Options = ClassifierOptions

    def gold_classes(self, batch: Batch) -> Tensor:
        """The classes of the gold spans, as the scores (B, T, ..., classes) have them: (B, T, ...) int64."""
        raise NotImplementedError

    def learnable(self, name: str, value: Sequence[Span]) -> Sequence[Span]:
        return outermost(value)

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Sum over the tokens of the loss that the options name; outside training, of the cross-entropy."""
        criterion = self.options.criterion if self.training else cross_entropy
        return sum_over_tokens(criterion(scores, self.gold_classes(batch)), batch.mask)

    def divergence(self, scores: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """Between the softmax of the scores at each token, summed over the tokens; for a CRF too."""
        log_p, log_q = scores.log_softmax(-1), other.log_softmax(-1)
        return sum_over_tokens(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1), batch.mask)


def trim(places: Iterable[tuple[int, int, int]], blank: Sequence[bool]) -> list[tuple[int, int, int]]:
    """Places (start, end, label number) without the blank tokens at their ends, each once, sorted.

    `blank` is a row of `Batch.blank`.  A place of blank tokens alone is left out.
    """
    visible = np.flatnonzero(~np.asarray(blank))
    found = set()
    for start, end, label in places:
        first, after = np.searchsorted(visible, (start, end))
        if first < after:
            found.add((int(visible[first]), int(visible[after - 1]) + 1, label))
    return sorted(found)


def sum_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T, ...) -> (B,): the sum over what the mask says is real."""
    return (values.reshape(*mask.shape, -1).sum(2) * mask).sum(1)


def initialise(layer: nn.Linear) -> None:
    """Gives a new layer BERT's random weights and a bias of 0."""
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
