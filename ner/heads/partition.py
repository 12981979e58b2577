"""log Z of a linear chain, the sum over all its paths, with the marginals as its gradient.

Rabiner, "A tutorial on hidden Markov models" (1989), for the sums and their scaling; the derivative of
log Z by a score is the probability of what it scores (Lafferty et al., 2001), so no graph through time
is kept: what autograd would walk back through, the backward sums give at once.  Transitions too far
apart for these sums take the plain ones.
Axes: B sentences, T tokens, K tags.
"""

import torch
from torch import Tensor

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

    steps (T, D, B, K), edges (D, 1, K), inner (D, K, K).
    """
    factors = inner.exp()
    state = steps[0] + edges
    states = [state]
    for scores in steps[1:].unbind():
        top = state.amax(-1, keepdim=True)
        state = torch.matmul((state - top).exp_(), factors).log_().add_(top).add_(scores)
        states.append(state)
    return torch.stack(states)


def _marginals(alpha, beta, scores, mask, inner, log_z) -> tuple[Tensor, Tensor]:
    """Probability of every tag at every token (B, T, K); how often each step is expected (B, K, K)."""
    of_tags = (alpha + beta - scores - log_z[:, None, None]).exp().where(mask[..., None], 0.0)
    before, after = alpha[:, :-1], beta[:, 1:]
    top_before, top_after = before.amax(-1, keepdim=True), after.amax(-1, keepdim=True)
    weight = (top_before + top_after - log_z[:, None, None]).where(mask[:, 1:, None], -torch.inf)
    # exp(a + t + b) summed over the tokens, as a product of matrices
    of_steps = ((before - top_before).exp() * weight.exp()).mT @ (after - top_after).exp() * inner.exp()
    return of_tags, of_steps
