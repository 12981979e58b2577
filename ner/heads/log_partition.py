"""log Z of a linear chain, the sum over all its paths, with the marginals as its gradient.

Rabiner, "A tutorial on hidden Markov models" (1989), for the sums and their scaling; the derivative of
log Z by a score is the probability of what it scores (Lafferty et al., 2001), so no graph through time
is kept: what autograd would walk back through, the backward sums give at once.  Transitions too far
apart for these sums take the plain ones.
Axes: B sentences, T tokens, K tags.
"""

import numpy as np
import torch
from torch import Tensor

MAX_SCANNED = 1 << 25  # numbers in the matrices of all steps
MAX_SPREAD = 300.0  # nats between the largest and the smallest transition; see `fits`


def fits(transitions: Tensor, start: Tensor, end: Tensor) -> bool:
    """Whether `_LogPartition`'s sums hold for these transitions: finite, and less than MAX_SPREAD apart.

    What float64 loses of a sum is e^-700 of its largest term; through transitions this near to each other
    that is never missed, however peaked the emissions are.
    """
    values = torch.cat([transitions.detach().flatten(), start.detach(), end.detach()])
    return bool(values.max() - values.min() < MAX_SPREAD)  # false for infinities and NaN


def log_partition(emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """(B,) float64: log of the sum over all taggings of each sentence of exp(score).

    emissions       (B, T, K) float, finite at padding
    mask            (B, T)    bool, True = real, contiguous from 0, one token at least
    transitions     (K, K)    float, [i, j] the score of tag j after tag i
    start, end      (K,)      float, scores of the first and the last tag
    """
    sums = _LogPartition.apply if fits(transitions, start, end) else plain_log_partition
    return sums(emissions, mask, transitions, start, end)


def plain_log_partition(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """As `log_partition` for any transitions, step by step in logarithms; autograd walks back through it."""
    emissions, transitions = emissions.double(), transitions.double()
    state = start + emissions[:, 0]
    for scores, real in zip(emissions.unbind(1)[1:], mask.unbind(1)[1:], strict=True):
        onward = torch.logsumexp(state[..., None] + transitions, 1) + scores
        state = onward.where(real[:, None], state)
    return torch.logsumexp(state + end, -1)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx, emissions, mask, transitions, start, end):
        scores, inner = emissions.double(), transitions.double()
        rows, last = torch.arange(len(mask), device=mask.device), mask.sum(1) - 1
        # The backward sums are forward sums of the mirrored sentence: one loop does both.
        mirror = (last[:, None] - torch.arange(mask.shape[1], device=mask.device)).clamp_min(0)
        mirror = mirror[..., None].expand_as(scores)
        steps = torch.stack([scores, scores.gather(1, mirror)]).permute(2, 0, 1, 3)  # (T, 2, B, K)
        edges = torch.stack([start, end]).double()[:, None]
        sums = _sums(steps, edges, torch.stack([inner, inner.T])).permute(1, 2, 0, 3)  # (2, B, T, K)
        alpha, beta = sums[0], sums[1].gather(1, mirror)  # both hold the emission of their token
        log_z = torch.logsumexp(alpha[rows, last] + edges[1], dim=-1)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*_marginals(alpha, beta, scores, mask, inner, log_z), last)
            ctx.dtypes = [x.dtype for x in (emissions, transitions, start, end)]
        return log_z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        of_tags, of_steps, last = ctx.saved_tensors
        of_tags = grad[:, None, None] * of_tags
        rows = torch.arange(len(last), device=last.device)
        grads = (
            of_tags,
            (grad[:, None, None] * of_steps).sum(0),
            of_tags[:, 0].sum(0),
            of_tags[rows, last].sum(0),
        )
        emissions, transitions, start, end = (x.to(dtype) for x, dtype in zip(grads, ctx.dtypes, strict=True))
        return emissions, None, transitions, start, end


def _sums(steps: Tensor, edges: Tensor, inner: Tensor) -> Tensor:
    """(T, D, B, K): log of the sums over all paths that end in each tag, in each of D directions.

    steps (T, D, B, K), edges (D, 1, K), inner (D, K, K), all float64.
    """
    scannable = steps.is_cuda and steps.numel() * steps.shape[-1] <= MAX_SCANNED
    return (scan if scannable else stepwise)(steps, edges, inner)


@np.errstate(all="ignore")  # what is not a number goes on as such, as in torch
def stepwise(steps: Tensor, edges: Tensor, inner: Tensor) -> Tensor:
    """`_sums` one token after the other, in numpy, whose calls cost least where so little is in each."""
    scores, factors = steps.numpy(force=True), inner.exp().numpy(force=True)
    states = np.empty(scores.shape)
    np.add(scores[0], edges.numpy(force=True), out=states[0])
    for before, state, at_token in zip(states[:-1], states[1:], scores[1:], strict=True):
        top = before.max(axis=-1, keepdims=True)
        np.matmul(np.exp(before - top), factors, out=state)
        np.log(state, out=state)
        state += top
        state += at_token
    return torch.from_numpy(states).to(steps.device)


def scan(steps: Tensor, edges: Tensor, inner: Tensor) -> Tensor:
    """`_sums` in log2(T) rounds of products of K x K matrices, for a device that does them side by side.

    After a round every token knows the sums over the last 1, 2, 4, ... steps to it (Hillis and Steele, 1986,
    "Data parallel algorithms"; Rush, 2020, "Torch-Struct", for chains).  A row is scaled by its largest sum,
    a column too: what then underflows is e^-400 of what stays, as transitions that fit are so near.
    """
    sums = inner[:, None] + steps[1:, ..., None, :]  # (T-1, D, B, K, K): from tag i before to tag j
    reach = 1
    while reach < len(sums):
        left, right = sums[:-reach], sums[reach:]
        rows, columns = left.amax(-1, keepdim=True), right.amax(-2, keepdim=True)
        joined = torch.log((left - rows).exp() @ (right - columns).exp()) + rows + columns
        sums = torch.cat([sums[:reach], joined])
        reach *= 2
    first = steps[0] + edges
    return torch.cat([first[None], torch.logsumexp(first[..., None] + sums, dim=-2)])


def _marginals(alpha, beta, scores, mask, inner, log_z) -> tuple[Tensor, Tensor]:
    """Probability of every tag at every token (B, T, K); how often each step is expected (B, K, K)."""
    of_tags = (alpha + beta - scores - log_z[:, None, None]).exp().where(mask[..., None], 0.0)
    before, after = alpha[:, :-1], beta[:, 1:]
    top_before, top_after = before.amax(-1, keepdim=True), after.amax(-1, keepdim=True)
    weight = (top_before + top_after - log_z[:, None, None]).where(mask[:, 1:, None], -torch.inf)
    # exp(a + t + b) summed over the tokens, as a product of matrices
    of_steps = ((before - top_before).exp() * weight.exp()).mT @ (after - top_after).exp() * inner.exp()
    return of_tags, of_steps
