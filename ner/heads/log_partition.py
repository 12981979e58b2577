"""log Z of a linear chain, the log-sum over all its taggings, with the marginals as its gradient.

Rabiner, "A tutorial on hidden Markov models" (1989), has the sums and their scaling.  The derivative of
log Z by a score is the marginal probability of what it scores (Lafferty et al., 2001), which the backward
sums give directly, so the fast version needs no autograd graph over time.
Axes: B sentences, T tokens, K tags, D the two directions.
"""

import numpy as np
import torch
from torch import Tensor

MAX_SCANNED = 1 << 25  # numbers in the matrices of all steps
MAX_TRANSITION_SPREAD = 300.0  # nats between the largest and the smallest transition; see `are_scalable`


def plain_log_partition(
    emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """(B,) float64: log of the sum over all taggings of a sentence of exp(score): the definition.

    emissions       (B, T, K) float, finite at padding
    mask            (B, T)    bool, True = real, contiguous from 0, at least one token
    transitions     (K, K)    float, [i, j] the score of tag j after tag i
    start, end      (K,)      float, scores of the first and the last tag
    """
    emissions, transitions = emissions.double(), transitions.double()
    state = start + emissions[:, 0]  # (B, K): log of the sum over the taggings so far that end in tag k
    for scores, real in zip(emissions.unbind(1)[1:], mask.unbind(1)[1:], strict=True):
        # (B, K, 1) + (K, K), summed over the tag before
        longer = torch.logsumexp(state[..., None] + transitions, 1) + scores
        state = longer.where(real[:, None], state)
    return torch.logsumexp(state + end, -1)


def log_partition(emissions: Tensor, mask: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """As `plain_log_partition`, but faster if the transitions are scalable; training calls it."""
    sums = _LogPartition.apply if are_scalable(transitions, start, end) else plain_log_partition
    return sums(emissions, mask, transitions, start, end)


def are_scalable(transitions: Tensor, start: Tensor, end: Tensor) -> bool:
    """True if sums of exp over these transitions stay accurate after division by their largest term.

    float64 underflows below e^-700 of the largest term, and no term that counts is that small, however peaked
    the emissions are.  (`viterbi.is_scalable` also bounds these, since its chains have impossible steps.)
    """
    values = torch.cat([transitions.detach().flatten(), start.detach(), end.detach()])
    return bool(values.max() - values.min() < MAX_TRANSITION_SPREAD)  # False for infinities and NaN


class _LogPartition(torch.autograd.Function):
    """The forward pass computes log Z and its gradient, the backward pass only scales that gradient."""

    @staticmethod
    def forward(ctx, emissions, mask, transitions, start, end):
        scores, inner = emissions.double(), transitions.double()
        rows, last = torch.arange(len(mask), device=mask.device), mask.sum(1) - 1
        # The backward sums are the forward sums of the mirrored sentence, so one loop computes both.
        mirror = (last[:, None] - torch.arange(mask.shape[1], device=mask.device)).clamp_min(0)  # (B, T)
        mirror = mirror[..., None].expand_as(scores)  # (B, T, K)
        steps = torch.stack([scores, scores.gather(1, mirror)]).permute(2, 0, 1, 3)  # (T, 2, B, K)
        edges = torch.stack([start, end]).double()[:, None]  # (2, 1, K)
        forward_sums = scan if steps.is_cuda and steps.numel() * steps.shape[-1] <= MAX_SCANNED else stepwise
        sums = forward_sums(steps, edges, torch.stack([inner, inner.T])).permute(1, 2, 0, 3)  # (2, B, T, K)
        alpha, beta = sums[0], sums[1].gather(1, mirror)  # (B, T, K), both with their own emission
        log_z = torch.logsumexp(alpha[rows, last] + edges[1], dim=-1)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*_marginals(alpha, beta, scores, mask, inner, log_z), last)
            ctx.dtypes = [x.dtype for x in (emissions, transitions, start, end)]
        return log_z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        tag_marginals, step_counts, last = ctx.saved_tensors
        of_tags = grad[:, None, None] * tag_marginals
        rows = torch.arange(len(last), device=last.device)
        of_steps = (grad[:, None, None] * step_counts).sum(0)
        grads = of_tags, of_steps, of_tags[:, 0].sum(0), of_tags[rows, last].sum(0)
        emissions, transitions, start, end = (x.to(dtype) for x, dtype in zip(grads, ctx.dtypes, strict=True))
        return emissions, None, transitions, start, end


@np.errstate(all="ignore")  # NaN and infinities propagate without a warning, as in torch
def stepwise(steps: Tensor, edges: Tensor, inner: Tensor) -> Tensor:
    """(T, D, B, K) float64: log of the sum over all taggings of the tokens so far that end in tag k.

    steps (T, D, B, K), edges (D, 1, K), inner (D, K, K), all float64.  Computed token by token, in numpy,
    because its calls cost least on such small arrays.
    """
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
    """As `stepwise`, in log2(T) rounds of K x K matrix products, for a device that runs them in parallel.

    After the rounds every token has the sums over the last 1, 2, 4, ... steps before it (Hillis and Steele,
    1986, "Data parallel algorithms"; Rush, 2020, "Torch-Struct").  Rows and columns are scaled by their
    largest sum; what underflows is less than e^-400 of what remains.
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
    """The probability of each tag at each token (B, T, K); the expected count of each step (B, K, K)."""
    tag_marginals = (alpha + beta - scores - log_z[:, None, None]).exp().where(mask[..., None], 0.0)
    before, after = alpha[:, :-1], beta[:, 1:]
    top_before, top_after = before.amax(-1, keepdim=True), after.amax(-1, keepdim=True)
    # (B, T-1, 1)
    weight = (top_before + top_after - log_z[:, None, None]).where(mask[:, 1:, None], -torch.inf)
    # exp(before + transition + after) summed over the tokens: (B, K, T-1) @ (B, T-1, K)
    step_counts = ((before - top_before).exp() * weight.exp()).mT @ (after - top_after).exp() * inner.exp()
    return tag_marginals, step_counts
