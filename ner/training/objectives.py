"""What a training step minimises: `objective(model, batch) -> ()` in nats, summed over the batch's tokens.

`model` is the tagger, or its replicas on several devices.  An objective of two passes takes the mean of both
losses, where its paper takes the sum, so that the loss stays a loss per token and gradient clipping keeps its
meaning.

params.json turns a new one on by `"objective": {"name": ..., option: ...}`; the older ones have keys of their
own, named by `key` and `flat`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ner.config import Options, from_mapping, option
from ner.data.batch import Batch
from ner.errors import DataError
from ner.runtime.devices import autocast


@dataclass(frozen=True, kw_only=True)
class Objective(Options):
    """Base of all objectives; its fields are its options."""

    is_outer: ClassVar[bool] = False
    "true: it takes the loss of another objective, `base`, several times"
    key: ClassVar[str] = "objective"
    "key of params.json that turns it on: by a number above 0, or by its name in `OBJECTIVES`"
    way: ClassVar[str] = ""
    "option of the command line that turns it on"
    excludes: ClassVar[Mapping[str, str]] = {}
    "way of running that it does not support -> what is expected in its place"

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """() float32, nats, summed over the tokens of the batch."""
        raise NotImplementedError


class Likelihood(Objective):
    """The head's own loss."""

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch)[1].sum()


@dataclass(frozen=True, kw_only=True)
class RDrop(Objective):
    """R-Drop (Liang et al. 2021): two passes with different dropout, pulled together by their divergence.

    The mean of both losses plus `weight` times a quarter of the head's KL(p, q) + KL(q, p).
    """

    key = "rdrop"
    excludes: ClassVar = {"--teacher": "0: one of them"}
    weight: float = option(above=0, flat="rdrop")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        (scores, losses), (other_scores, other_losses) = model(batch), model(batch)
        divergence = head_of(model).divergence(scores, other_scores, batch).sum()
        return (losses + other_losses).sum() / 2 + self.weight / 4 * divergence


@dataclass(frozen=True, kw_only=True)
class MultiDropout(Objective):
    """Multi-sample dropout (Inoue 2019): the mean loss of several dropouts before one classifier."""

    key = "multi_dropout"
    excludes: ClassVar = {
        "--teacher": "0: one of them",
        "--multi_gpu": "0: one device",
        "torchrun": "0: one process",
    }
    n_samples: int = option(above=0, flat="multi_dropout")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        with autocast(batch.piece_ids.device.type, model.precision):
            hidden = model.encode(batch)
            samples = [model.head.scores(hidden, batch.mask) for _ in range(self.n_samples)]
        return sum(model.head.loss(scores, batch).sum() for scores in samples) / self.n_samples


@dataclass(frozen=True, kw_only=True)
class Distillation(Objective):
    """The head's own loss, and `weight` of it on the teacher's tags (Hinton, Vinyals and Dean 2015)."""

    way = "--teacher"
    weight: float = option(0.5, low=0, high=1, flat="distillation_weight")
    temperature: float = option(1.0, above=0, flat="distillation_temperature")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        scores, losses = model(batch)
        soft = head_of(model).soft_loss(scores, batch, temperature=self.temperature)
        return ((1 - self.weight) * losses + self.weight * soft).sum()


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """The mean of the loss and of the loss with word vectors moved against the model.

    One step of length `epsilon` is FGM (Miyato et al. 2017, who normalise the embeddings first).  Several
    steps of `step_size` times `epsilon`, clipped to `epsilon` together, are PGD (Madry et al. 2018).  A row
    of pieces is moved as a whole.
    """

    is_outer, key = True, "adversarial"
    excludes: ClassVar = {
        "--fp16": "--bf16 or fp32",
        "--multi_gpu": "none: one device",
        "torchrun": "none: one process",
    }
    n_steps: ClassVar[int]
    step_size: ClassVar[float]
    epsilon: float = option(1.0, above=0, flat="adversarial_epsilon")
    base: Objective = field(default_factory=Likelihood)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        perturbation = Perturbation()
        handle = model.encoder.word_embeddings.register_forward_hook(perturbation)
        length = self.step_size * self.epsilon
        try:
            loss = perturbed = self.base(model, batch)
            for _ in range(self.n_steps):
                before = perturbation.values
                gradients = torch.autograd.grad(perturbed, before, retain_graph=perturbed is loss)
                moved = [
                    value.detach() + length * (gradient / row_norm(gradient))
                    for value, gradient in zip(before, gradients, strict=True)
                ]
                perturbation.replace(x * (self.epsilon / row_norm(x)).clamp_max(1.0) for x in moved)
                perturbed = self.base(model, batch)
        finally:
            handle.remove()
        return (loss + perturbed) / 2


class Fgm(Adversarial):
    n_steps, step_size = 1, 1.0


class Pgd(Adversarial):
    n_steps, step_size = 3, 0.3


OBJECTIVES: dict[str, type[Objective]] = {
    "likelihood": Likelihood,
    "distillation": Distillation,
    "rdrop": RDrop,
    "multi_dropout": MultiDropout,
    "fgm": Fgm,
    "pgd": Pgd,
}
ADVERSARIES = tuple(name for name, kind in OBJECTIVES.items() if issubclass(kind, Adversarial))


def build_objective(keys: Mapping[str, Any], *, ways: Iterable[str] = (), where: str = "params") -> Objective:
    """The objective that the keys of params.json ask for.

    `ways` are options of the command line that not every objective supports: --teacher (which asks for
    `distillation`), --fp16, --multi_gpu, torchrun.  DataError, beginning with `where`: an unknown objective,
    two objectives that exclude each other, an objective that does not support one of the ways.
    """
    ways, stated = set(ways), dict(keys.get("objective") or {})
    chosen = stated.pop("name", None)
    if chosen not in (None, *OBJECTIVES):
        raise DataError(f"{where}: objective.name: got {chosen!r}, expected one of {', '.join(OBJECTIVES)}")
    objective, built = Likelihood(), {}
    for name, kind in sorted(OBJECTIVES.items(), key=lambda item: item[1].is_outer):
        asked = keys.get(kind.key)
        is_asked = asked == name or (isinstance(asked, int | float) and asked > 0)
        if not (is_asked or name == chosen or kind.way in ways):
            continue
        for way, expected in kind.excludes.items():
            if way in ways:
                raise DataError(f"{where}: {kind.key}: got {asked!r} with {way}, expected {expected}")
        own = {one.name: keys[one.metadata["flat"]] for one in fields(kind) if one.metadata.get("flat")}
        own |= stated if name == chosen else {}
        own |= {"base": objective} if kind.is_outer else {}
        other = built.setdefault(kind.is_outer, kind)
        if other is not kind:
            pair = f"{other.__name__} and {kind.__name__}"
            raise DataError(f"{where}: objective: got {pair}, expected one of them")
        objective = from_mapping(kind, own, f"{where}: objective")
    return objective


def head_of(model: nn.Module) -> nn.Module:
    """The head of the tagger, or of the tagger inside replicas."""
    return getattr(model, "module", model).head


class Perturbation:
    """A forward hook that adds `values[i]` (R, P, E) to the output of a table's i-th call in a pass."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.n_calls = 0

    def __call__(self, module: nn.Module, inputs: tuple, vectors: Tensor) -> Tensor:
        if self.n_calls == len(self.values):  # first pass: nothing is moved yet
            self.values.append(torch.zeros_like(vectors, requires_grad=True))
        self.n_calls += 1
        return vectors + self.values[self.n_calls - 1]

    def replace(self, values: Iterable[Tensor]) -> None:
        """Sets the values of the next pass."""
        self.values, self.n_calls = [value.requires_grad_() for value in values], 0


def row_norm(x: Tensor) -> Tensor:
    """x (R, P, E) -> Euclidean norm of each row, (R, 1, 1)."""
    return x.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-12)
