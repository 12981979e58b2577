"""Speed of training: real tokens a second of this code and its rivals, on the same sentences.

    python -m benchmarks.train --data_dir data/msra --threads 2 --out train.json

Each arm makes the batches of a whole epoch in its own way and trains on `--batches` of them, evenly spaced in
length.  Two things are not timed: one more batch before them, in which the optimiser allocates its memory,
and a first pass over all of them, because new shapes are slow once.  All arms have the same weights, mean
sentences a batch, window, threads and dropout, and fused AdamW.  No arm logs or saves.  The rivals:

ancestor                 lemonhu/NER-BERT-pytorch: fp32, shuffled batches padded to their longest sentence.
                         As in the original, Adam instead of AdamW, and `loss.item()` in each step.  [CLS] and
                         [SEP], which it did not have, are added, so that its loss can be compared.
HF Trainer bf16          its defaults, but in bf16 and silent: shuffled batches, padded to the longest
HF Trainer bf16 grouped  the same in the order of its group_by_length (LengthGroupedSampler)

The rivals truncate a sentence that is longer than the window; this code reads it in several windows.  Each
token that is trained on counts once.  Padding, [CLS] and [SEP] do not count.
The check: the loss and its gradient norm over the same 32 sentences before training, without dropout, each
arm in its own precision, against transformers in fp32.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks import inputs, report
from benchmarks.rivals import ancestor, hf_collator, hf_model, trainer
from benchmarks.steps import FixedBatches, our_steps, some_batches
from benchmarks.timing import Arm, Measured, ceiling, evenly_spaced, forward_flop, interleave
from ner.data.batch import Batch
from ner.data.batches import token_budget
from ner.data.windows import Examples, Windows, encode
from ner.model.directory import Model
from ner.runtime import devices, program
from ner.tags import spans_to_tags

IGNORED = -100  # transformers' label of pieces that are not trained on
OURS, EXACT = "this code, bf16", "this code, fp32"
ANCESTOR, TRAINER = "the ancestor's way", "HF Trainer bf16"
GROUPED = f"{TRAINER} + group_by_length"
Losses = dict[str, tuple[float, float]]  # by arm: loss in nats a token, and its gradient norm


class Trained(NamedTuple):
    """Sizes of an arm's timed batches."""

    n_tokens: int
    n_fed: int
    "pieces in the encoder's input, including [CLS], [SEP] and padding"
    lengths: list[int]
    "pieces of each row, including [CLS] and [SEP]"


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, sizes=["tiny"], batches=2, batch_size=8)
    inputs.add_sizes(parser)
    parser.add_argument(
        "--batches", type=int, default=8, help="batches timed in each pass of every arm (default: 8)"
    )
    parser.add_argument(
        "--batch_size", type=int, default=32, help="sentences a batch; for this code the mean"
    )
    parser.add_argument("--max_len", type=int, default=180, help="pieces a window (default: the ancestor's)")
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    device = inputs.start(args)
    before = report.machine()
    rivals = inputs.has_rivals("transformers", "accelerate")
    sentences = inputs.read(args, "train")
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            compare(args, size, sentences, Path(folder) / size, device, rivals=rivals) for size in args.sizes
        ]
    report.finish(args, before, tables)


def compare(args, size: str, sentences: list, model_dir: Path, device: torch.device, *, rivals: bool) -> dict:
    """Measures all arms with one size of the encoder."""
    sizes = inputs.SIZES[size]
    model = inputs.write_model(model_dir, sizes, args, sentences)
    examples = encode(sentences, model.tokenizer)
    windows = Windows(args.max_len)
    budget = token_budget(examples, windows, args.batch_size)
    loader = some_batches(examples, model, windows, batch_tokens=budget, n=args.batches, seed=args.seed)
    # sentences of one window, which no arm truncates
    same = evenly_spaced(np.flatnonzero(examples.n_pieces <= args.max_len - 2), int, 32)
    arms: dict[str, Arm] = {"ceiling": ceiling(sizes, budget, device)}
    losses: Losses = {}
    if rivals:
        features = hf_features(examples, model, args.max_len)
        arms |= hf_arms(args, model_dir, features, device)
        losses |= hf_losses(model_dir, hf_collator(model_dir)([features[i] for i in same]), device)
    arms[OURS] = our_arm(model_dir, loader, device)
    losses |= our_losses(model_dir, loader.collate(same), device)
    measured = interleave(arms, rounds=args.rounds)
    peak = arms["ceiling"].flop / measured.pop("ceiling").median
    print(f"{size}: loss and gradient of this code in fp32 against HF fp32: {difference(losses, EXACT)}\n")
    return {
        "title": f"training, {inputs.size_name(size)}",
        "rows": rows_of(measured, losses, sizes, peak),
        "ceiling_flop_per_second": peak,
        "losses": {name: {"loss": loss, "gradient_norm": norm} for name, (loss, norm) in losses.items()},
        "trained": {name: m.result._asdict() for name, m in measured.items()},
        "seconds": report.seconds(measured),
    }


def rows_of(measured: dict[str, Measured], losses: Losses, sizes: dict, peak: float) -> list[dict]:
    """One row of the table for each arm."""
    speed = {name: m.result.n_tokens / m.median for name, m in measured.items()}
    rows = []
    for name, m in measured.items():
        flop = 3 * forward_flop(sizes, [(1, n) for n in m.result.lengths])
        rows.append(
            {
                "training": name,
                "tokens/s": f"{speed[name]:,.0f}",
                "real/fed": f"{m.result.n_tokens / m.result.n_fed:.2f}",
                "real products, of the bf16 ceiling": report.percent(flop / m.median / peak),
                "this code is faster by": report.times(speed[OURS] / speed[name]),
                "loss, gradient against HF fp32": difference(losses, name),
            }
        )
    return rows


def difference(losses: Losses, name: str) -> str:
    """Relative differences of the loss and its gradient norm from the ancestor's."""
    if ANCESTOR not in losses:
        return "not compared"
    return ", ".join(
        f"{abs(a - b) / abs(b):.0e}" for a, b in zip(losses[name], losses[ANCESTOR], strict=True)
    )


# this code


def our_arm(model_dir: Path, loader: FixedBatches, device: torch.device) -> Arm:
    batches = [loader.collate(batch) for batch in loader.chosen[1:]]
    trained = Trained(
        n_tokens=sum(batch.n_tokens for batch in batches),
        n_fed=sum(batch.piece_ids.numel() for batch in batches),
        lengths=[n for batch in batches for n in batch.piece_mask.sum(-1).flatten().tolist()],
    )
    return lambda: (our_steps(inputs.open_model(model_dir, device, "bf16").tagger, loader), trained)


def our_losses(model_dir: Path, batch: Batch, device: torch.device) -> Losses:
    batch = batch.to(device)
    losses = {}
    for name, precision in ((EXACT, "fp32"), (OURS, "bf16")):
        tagger = inputs.open_model(model_dir, device, precision).tagger.eval()
        loss = tagger(batch)[1].sum() / batch.n_tokens
        loss.backward()
        losses[name] = loss.item(), gradient_norm(tagger)
    return losses


def gradient_norm(model: nn.Module) -> float:
    return nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None).item()


# the rivals


def hf_features(examples: Examples, model: Model, max_len: int) -> list[dict]:
    """Input of transformers' collator: our pieces, with a label at the first piece of each token."""
    cls_id, sep_id, _ = examples.specials
    features = []
    for i, sentence in enumerate(examples.sentences):
        pieces, starts = examples.of(i)
        labels = [IGNORED] * len(pieces)
        for start, tag in zip(starts, spans_to_tags(sentence.spans, len(starts)), strict=True):
            labels[start] = model.tag_set.index[tag]
        room = max_len - 2
        ids = [cls_id, *pieces[:room].tolist(), sep_id]
        features.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "labels": [IGNORED, *labels[:room], IGNORED],
            }
        )
    return features


def hf_arms(args, model_dir: Path, features: list[dict], device: torch.device) -> dict[str, Arm]:
    collate = hf_collator(model_dir)
    lengths = [len(feature["input_ids"]) for feature in features]
    order = np.random.default_rng(args.seed).permutation(len(features)).tolist()
    arms = {}
    for name, train, epoch in (
        (ANCESTOR, ancestor, order),
        (TRAINER, trainer, order),
        (GROUPED, trainer, grouped_order(lengths, args)),
    ):
        n_whole = len(epoch) // args.batch_size * args.batch_size or len(epoch)
        batches = [epoch[i : i + args.batch_size] for i in range(0, n_whole, args.batch_size)]
        chosen = evenly_spaced(batches, lambda batch: max(lengths[i] for i in batch), args.batches)
        timed_batches = [[features[i] for i in batch] for batch in chosen]
        arms[name] = hf_arm(train, model_dir, timed_batches, collate, device)
    return arms


def grouped_order(lengths: Sequence[int], args) -> list[int]:
    """The order of sentences that `group_by_length` gives an epoch."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator = torch.Generator().manual_seed(args.seed)
    return list(LengthGroupedSampler(args.batch_size, lengths=list(lengths), generator=generator))


def hf_arm(
    train: Callable, model_dir: Path, timed_batches: list[list[dict]], collate: Callable, device: torch.device
) -> Arm:
    """An arm that trains a new model with `train`, after one more batch that is not timed."""
    tensors = [collate(batch) for batch in timed_batches]
    trained = Trained(
        n_tokens=sum(int((batch["labels"] != IGNORED).sum()) for batch in tensors),
        n_fed=sum(batch["input_ids"].numel() for batch in tensors),
        lengths=[len(feature["input_ids"]) for batch in timed_batches for feature in batch],
    )
    batches = [timed_batches[len(timed_batches) // 2], *timed_batches]
    return lambda: (train(hf_model(model_dir, device).train(), batches, collate, device), trained)


def hf_losses(model_dir: Path, batch: dict[str, torch.Tensor], device: torch.device) -> Losses:
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    losses = {}
    for name, precision in ((ANCESTOR, "fp32"), (TRAINER, "bf16")):
        model = hf_model(model_dir, device)
        with devices.autocast(device.type, precision):
            loss = model(**batch).loss
        loss.backward()
        losses[name] = loss.item(), gradient_norm(model)
    return losses | {GROUPED: losses[TRAINER]}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
