"""Speed of the CRF against torchcrf: loss with gradient, decoding, and the share of a training step.

    python -m benchmarks.crf --threads 2 --out crf.json

The rival is torchcrf's module with its own parameters, in fp32, on the same emissions, mask and tags; this
code reads the same parameters.  Every sentence has at least half the tokens of the longest.
The checks: the relative difference of the loss, the largest difference of any gradient relative to its
largest number, and the share of sentences with the identical best path.
Decoding is Viterbi.  A third row measures the whole decoding of the head: spans of legal tags, each with its
probability.

The share of a training step is measured on batches of train, for every size of `--sizes`: the time of the
loss and its gradient by the emissions, divided by the time of the whole step (forward, backward, clipping,
AdamW; bf16).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchcrf import CRF

from benchmarks import inputs, report
from benchmarks.steps import our_steps, some_batches
from benchmarks.timing import Arm, Measured, interleave, timed
from ner.annotations.spans import SpanInventory
from ner.data.batch import Batch
from ner.data.batches import token_budget
from ner.data.windows import Windows, encode
from ner.heads import viterbi
from ner.heads.crf import CrfHead, path_scores
from ner.heads.log_partition import log_partition
from ner.model.directory import Model
from ner.runtime import program
from ner.tags import TagSet

OURS, THEIRS, SCORED = "this code", "torchcrf", "this code, with probabilities"
SHAPES = [(32, 128, 7), (64, 48, 7), (8, 256, 25)]
OUTSIDE_LEAD = 3.0  # added to the score of `O`, so that most tokens are outside entities, as in text
QUICK_SHAPES = [(4, 12, 7), (2, 16, 25)]
REPEATS = 20  # calls in one timing, since a call takes milliseconds


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, sizes=["tiny"], batches=2)
    inputs.add_sizes(parser)
    parser.add_argument("--batches", type=int, default=4, help="training batches, for the share of a step")
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    device = inputs.start(args)
    before = report.machine()
    shapes = QUICK_SHAPES if args.quick else SHAPES
    rows = [row for shape in shapes for row in compare(args, shape, device)]
    timings = {"title": "CRF", "rows": [row.pop("shown") for row in rows], "seconds": rows}
    sentences = inputs.read(args, "train")
    shares = [share_of_a_step(args, size, sentences, device) for size in args.sizes]
    share = {"title": "CRF in training", "rows": [s.pop("shown") for s in shares], "seconds": shares}
    report.finish(args, before, [timings, share])


def compare(args: argparse.Namespace, shape: tuple[int, int, int], device: torch.device) -> list[dict]:
    """The rows of one shape (sentences, tokens, tags): loss and gradient, decoding, decoding to entities."""
    problem = Problem(*shape, device)
    losses = interleave({THEIRS: problem.their_loss(), OURS: problem.our_loss()}, rounds=args.rounds)
    arms = {THEIRS: problem.their_paths(), OURS: problem.our_paths()}
    paths = interleave(arms | {SCORED: problem.our_spans()}, rounds=args.rounds)
    loss_off, gradient_off = difference(losses[OURS].result, losses[THEIRS].result)
    theirs, ours = paths[THEIRS].result, paths[OURS].result
    same = np.mean([list(a) == list(b) for a, b in zip(ours, theirs, strict=True)])
    return [
        row("loss and gradient", shape, losses, OURS, f"off by {loss_off:.0e}, {gradient_off:.0e}"),
        row("decoding", shape, paths, OURS, f"{report.percent(same)} of paths identical"),
        row("decoding with probabilities of entities", shape, paths, SCORED, ""),
    ]


def row(what: str, shape: tuple, measured: dict[str, Measured], ours: str, check: str) -> dict:
    """One row: the cells that are shown, and the measured seconds."""
    theirs, own = measured[THEIRS].median, measured[ours].median
    shown = {
        "CRF": f"{what}, {shape[0]} x {shape[1]}, {shape[2]} tags",
        "torchcrf": f"{1000 * theirs / REPEATS:.2f} ms",
        "this code": f"{1000 * own / REPEATS:.2f} ms",
        "faster by": report.times(theirs / own),
        "check": check,
    }
    arms = report.seconds({THEIRS: measured[THEIRS], ours: measured[ours]})
    return {"shown": shown, "what": what, "shape": shape, "repeats": REPEATS, "arms": arms}


def difference(ours: list[Tensor], theirs: list[Tensor]) -> tuple[float, float]:
    """Relative difference of the loss, and the largest of any gradient."""
    off = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]
    return off[0], max(off[1:])


class Problem:
    """Random emissions that favour `O`, random lengths, and a CRF whose parameters both sides read."""

    def __init__(self, n_sentences: int, n_tokens: int, n_tags: int, device: torch.device):
        self.tag_set = TagSet.from_labels([f"L{number}" for number in range(n_tags // 2)], "BIO")
        self.head = CrfHead(1, {"spans": SpanInventory(self.tag_set)}).to(device)
        self.crf: CRF = self.head.crf
        favour = OUTSIDE_LEAD * (torch.arange(n_tags, device=device) == self.tag_set.index["O"])
        emissions = torch.randn(n_sentences, n_tokens, n_tags, device=device) + favour
        self.emissions = emissions.requires_grad_()
        self.tags = torch.randint(0, n_tags, (n_sentences, n_tokens), device=device)
        self.lengths = torch.randint(n_tokens // 2, n_tokens + 1, (n_sentences,), device=device)
        self.lengths[0] = n_tokens
        self.mask = torch.arange(n_tokens, device=device) < self.lengths[:, None]
        start, end = self.crf.start_transitions, self.crf.end_transitions
        self.learned = self.crf.transitions, start, end

    def our_loss(self) -> Arm:
        def loss() -> Tensor:
            log_z = log_partition(self.emissions, self.mask, *self.learned)
            return (log_z - path_scores(self.emissions, self.tags, self.mask, *self.learned)).sum()

        return self._with_gradient(loss)

    def their_loss(self) -> Arm:
        return self._with_gradient(lambda: -self.crf(self.emissions, self.tags, mask=self.mask))

    def _with_gradient(self, loss: Callable[[], Tensor]) -> Arm:
        variables = [self.emissions, *self.learned]

        def work() -> list[Tensor]:
            value = loss()
            return [value.detach(), *torch.autograd.grad(value, variables)]

        return repeated(work)

    def our_paths(self) -> Arm:
        """Viterbi without constraints, because torchcrf has none."""

        def work() -> list:
            emissions = self.emissions.detach().cpu().numpy().astype(np.float64)
            return viterbi.viterbi(emissions, self.lengths.cpu().numpy(), self.head.transition_table())

        return repeated(work)

    def our_spans(self) -> Arm:
        scores, batch = self.emissions.detach(), Batch(None, None, None, self.mask, {})
        return repeated(lambda: self.head.decode(scores, batch))

    def their_paths(self) -> Arm:
        def work() -> list:
            with torch.inference_mode():
                return self.crf.decode(self.emissions, mask=self.mask)

        return repeated(work)


def repeated(work: Callable) -> Arm:
    """An arm that repeats the work REPEATS times and returns the last result."""
    return timed(lambda: [work() for _ in range(REPEATS)][-1])


def share_of_a_step(args, size: str, sentences: list, device: torch.device) -> dict:
    """Measures whole steps, and the CRF's part of them, over the same batches."""
    with tempfile.TemporaryDirectory() as folder:
        model = inputs.write_model(Path(folder) / size, inputs.SIZES[size], args, sentences, head="crf")
    model.tagger.place(device, precision="bf16")
    examples, windows = encode(sentences, model.tokenizer), Windows(180)
    budget = token_budget(examples, windows, 32)
    loader = some_batches(examples, model, windows, batch_tokens=budget, n=args.batches, seed=args.seed)
    batches = [loader.collate(indices).to(device) for indices in loader.chosen[1:]]
    scores = [random_scores(model, batch, device) for batch in batches]
    crf = model.tagger.head.crf

    def theirs(scores: Tensor, batch: Batch) -> Tensor:
        return -crf(scores, model.tagger.head.gold_classes(batch), mask=batch.mask)

    def alone(loss: Callable) -> Callable:
        def work() -> None:
            for x, batch in zip(scores, batches, strict=True):
                torch.autograd.grad(loss(x, batch).sum(), [x, *crf.parameters()])

        return work

    arms = {
        "step": lambda: (our_steps(model.tagger, loader), None),
        OURS: timed(alone(model.tagger.head.loss)),
        THEIRS: timed(alone(theirs)),
    }
    measured = interleave(arms, rounds=args.rounds)
    step, ours, other = (measured[name].median / len(batches) for name in ("step", OURS, THEIRS))
    shown = {
        "CRF in training": inputs.size_name(size),
        "ms a step": f"{1000 * step:.0f}",
        "of it the CRF": f"{1000 * ours:.1f}",
        "share": report.percent(ours / step),
        "torchcrf's share would be": report.percent(other / (step - ours + other)),
    }
    return {"shown": shown, "size": size, "arms": report.seconds(measured)}


def random_scores(model: Model, batch: Batch, device: torch.device) -> Tensor:
    return torch.randn(*batch.mask.shape, len(model.tag_set), device=device, requires_grad=True)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
