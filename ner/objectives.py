"""What a training step minimises: `objective(model, batch) -> ()` in nats, summed over the batch's tokens.

`model` is the tagger, or its replicas on several devices.  Each objective halves what its paper sums over
two passes, so that the loss stays one per token and the clipping of gradients means what it meant.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ner.batch import Batch
from ner.config import Config
from ner.runtime import autocast

Objective = Callable[[nn.Module, Batch], Tensor]

# of epsilon: how far each of the steps goes
ADVERSARIES = {"fgm": (1, 1.0), "pgd": (3, 0.3)}


def likelihood(model: nn.Module, batch: Batch) -> Tensor:
    """The head's own loss."""
    return model(batch)[1].sum()


def head_of(model: nn.Module) -> nn.Module:
    """The tagger's head; of replicas, that of the tagger they copy."""
    return getattr(model, "module", model).head


def rdrop(model: nn.Module, batch: Batch, *, weight: float) -> Tensor:
    """R-Drop (Liang et al. 2021): two passes that differ by dropout, drawn together by their divergence.

    The mean of both losses, and `weight` times a quarter of the head's KL(p, q) + KL(q, p).
    """
    (scores, losses), (other_scores, other_losses) = model(batch), model(batch)
    divergence = head_of(model).divergence(scores, other_scores, batch).sum()
    return (losses + other_losses).sum() / 2 + weight / 4 * divergence


def distil(model: nn.Module, batch: Batch, *, weight: float, temperature: float) -> Tensor:
    """The head's own loss, and `weight` of it given to the teacher's tags (Hinton, Vinyals and Dean 2015)."""
    scores, losses = model(batch)
    soft = head_of(model).soft_loss(scores, batch, temperature=temperature)
    return ((1 - weight) * losses + weight * soft).sum()


def multi_dropout(model: nn.Module, batch: Batch, *, n_samples: int) -> Tensor:
    """Multi-sample dropout (Inoue 2019): the mean loss of several dropouts before one classifier."""
    with autocast(batch.piece_ids.device.type, model.precision):
        hidden = model.encode(batch)
        samples = [model.head.scores(hidden) for _ in range(n_samples)]
    return sum(model.head.loss(scores, batch).sum() for scores in samples) / n_samples


def adversarial(
    model: nn.Module, batch: Batch, *, base: Objective, epsilon: float, n_steps: int, step_size: float
) -> Tensor:
    """The mean of the loss and of the loss where the word vectors are moved against the model.

    One step of `epsilon` is FGM (Miyato et al. 2017, who normalise the embeddings first); several of
    `step_size`, kept within `epsilon`, are PGD (Madry et al. 2018).  Each row of pieces is moved as a whole:
    its gradient is divided by its norm.
    """
    moves = Moves()
    handle = word_embeddings(model.encoder).register_forward_hook(moves)
    try:
        loss = now = base(model, batch)
        for _ in range(n_steps):
            gradients = torch.autograd.grad(now, moves.values, retain_graph=now is loss)
            moves.take(
                within(move.detach() + step_size * unit(gradient), epsilon)
                for move, gradient in zip(moves.values, gradients, strict=True)
            )
            now = base(model, batch)
    finally:
        handle.remove()
    return (loss + now) / 2


class Moves:
    """A forward hook that adds `values[i]` (R, P, E) to what a table's i-th call in a pass returns."""

    def __init__(self):
        self.values: list[Tensor] = []
        self.n_calls = 0

    def __call__(self, module: nn.Module, inputs: tuple, vectors: Tensor) -> Tensor:
        if self.n_calls == len(self.values):  # the first pass, which moves nothing
            self.values.append(torch.zeros_like(vectors, requires_grad=True))
        self.n_calls += 1
        return vectors + self.values[self.n_calls - 1]

    def take(self, values: Iterable[Tensor]) -> None:
        """New values, for the next pass."""
        self.values, self.n_calls = [value.requires_grad_() for value in values], 0


def word_embeddings(encoder: nn.Module) -> nn.Embedding:
    """The encoder's table of pieces."""
    tables = (module for module in encoder.modules() if isinstance(module, nn.Embedding))
    return next(table for table in tables if table.num_embeddings == encoder.vocab_size)


def norm(moves: Tensor) -> Tensor:
    """(R, 1, 1) of (R, P, E)."""
    return moves.flatten(1).norm(dim=1)[:, None, None].clamp_min(1e-12)


def unit(gradient: Tensor) -> Tensor:
    return gradient / norm(gradient)


def within(move: Tensor, radius: float) -> Tensor:
    return move * (radius / norm(move)).clamp_max(1.0)


def build_objective(config: Config, *, teacher: bool = False) -> Objective:
    """The objective that params.json asks for; `teacher`: where batches hold a teacher's probabilities."""
    objective: Objective = likelihood
    if teacher:
        options = {"weight": config.distillation_weight, "temperature": config.distillation_temperature}
        objective = partial(distil, **options)
    elif config.rdrop:
        objective = partial(rdrop, weight=config.rdrop)
    elif config.multi_dropout:
        objective = partial(multi_dropout, n_samples=config.multi_dropout)
    if config.adversarial == "none":
        return objective
    n_steps, share = ADVERSARIES[config.adversarial]
    epsilon = config.adversarial_epsilon
    return partial(adversarial, base=objective, epsilon=epsilon, n_steps=n_steps, step_size=share * epsilon)
