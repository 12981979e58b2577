"""Tokens a second and peak memory for sentences of one length, 32 to 512 pieces, in training and prediction.

    python -m benchmarks.lengths --data_dir data/msra --threads 2 --out lengths.json

All batches of a length have the same shape, with a fixed number of pieces and no padding, cut from the
running text of train.  So the figures show the cost of length, mainly of attention.  Every figure comes from
its own process; each round runs all arms and lengths in turn.  One batch before the timed ones allocates the
memory.  The rival is transformers' model on the same tensors: for training in bf16 autocast with fused AdamW,
for prediction with weights in bf16 and the best tag of each token.
The check: the relative difference of the loss of one batch without dropout, before training, each side in its
own precision.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks import inputs, report
from benchmarks.rivals import hf_model, plain_loop
from benchmarks.steps import FixedBatches, our_steps
from benchmarks.timing import add_worker, clock, did_work, in_process, peak_memory, show
from ner.data.batch import Batch
from ner.data.sentence import Sentence
from ner.data.windows import Windows, encode
from ner.errors import DataError
from ner.inference.predict import predict
from ner.model.directory import Model, load
from ner.runtime import devices, program
from ner.tags import Span

OURS, RIVAL = "this code, bf16", "HF model, bf16"
WORK = ("training", "prediction")


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(
        __doc__, sizes=["tiny"], lengths=[16], batches=1, training_tokens=64, batch_tokens=64
    )
    inputs.add_sizes(parser)
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[32, 64, 128, 256, 512], help="pieces a row"
    )
    parser.add_argument("--batches", type=int, default=3, help="batches timed in each process (default: 3)")
    parser.add_argument("--training_tokens", type=int, default=2048, help="pieces a batch of training")
    devices.add_batch_tokens(parser)
    add_worker(parser)
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    if did_work(args, work):
        return
    device = inputs.start(args)
    before = report.machine()
    names = [RIVAL, OURS] if inputs.has_rivals("transformers") else [OURS]
    sentences = inputs.read(args, "train")
    with tempfile.TemporaryDirectory() as folder:
        budgets = {
            "training": args.training_tokens,
            "prediction": devices.choose_batch_tokens(args.batch_tokens, device),
        }
        tables = [table(args, size, sentences, Path(folder) / size, names, budgets) for size in args.sizes]
    report.finish(args, before, tables)


def table(
    args, size: str, sentences: list[Sentence], model_dir: Path, names: list[str], budgets: dict[str, int]
) -> dict:
    """Measures all lengths of one size; `budgets` are the pieces a batch by kind of work."""
    inputs.write_model(model_dir, inputs.SIZES[size], args, sentences)
    cases = [(what, length, name) for what in WORK for length in args.lengths for name in names]
    measured: dict[tuple, list[dict]] = {case: [] for case in cases}
    for number in range(args.rounds):
        for what, length, name in cases:
            values = {"what": what, "length": length, "arm": name, "model_dir": str(model_dir)}
            values |= {"data_dir": str(args.data_dir.resolve()), "n_batches": args.batches}
            values |= {name: getattr(args, name) for name in ("threads", "device", "seed")}
            values["batch_tokens"] = budgets[what]
            found = in_process("benchmarks.lengths", values)
            measured[what, length, name].append(found)
            show(f"round {number + 1} of {args.rounds}  {what} {length} {name}: {found['seconds']:.2f} s")
    title = f"length, {inputs.size_name(size)}"
    rows = [row for length in args.lengths for row in rows_of(title, length, names, measured)]
    kept = [dict(zip(("what", "length", "arm", "rounds"), (*c, m), strict=True)) for c, m in measured.items()]
    return {"title": title, "rows": rows, "measured": kept}


def rows_of(title: str, length: int, names: list[str], measured: dict) -> Iterator[dict]:
    for name in names:
        row = {title: f"{length}: {name}"}
        for what in WORK:
            found = measured[what, length, name]
            seconds = statistics.median(each["seconds"] for each in found)
            row[f"{what}, tokens/s"] = f"{found[0]['n_tokens'] / seconds:,.0f}"
            peak = statistics.median(each["peak_memory"] for each in found)
            row[f"{what}, peak MB"] = f"{peak / 1e6:,.0f}"
        losses = [measured["training", length, arm][0]["loss"] for arm in names]
        same = f"{abs(losses[0] - losses[-1]) / abs(losses[-1]):.0e}" if len(names) > 1 else ""
        yield row | {"loss off by": same if name == OURS else ""}


# in its own process


def work(args: argparse.Namespace) -> dict:
    """Measures seconds, tokens and peak memory of one arm at one length."""
    device = inputs.start(args)
    model = load(args.model_dir)
    n = args.n_batches + 1
    rows = max(1, args.batch_tokens // args.length)
    sentences = running_text(inputs.read(args, "train"), model, args.length - 2, rows * n)
    loader = FixedBatches(
        encode(sentences, model.tokenizer),
        windows=Windows(args.length),
        batch_tokens=args.length * rows,
        targets=model.tagger.head,
    )
    loader.chosen = loader.batch_indices(0)
    seconds, loss = (ours if args.arm == OURS else theirs)(args, model, loader, device)
    n_tokens = args.n_batches * rows * (args.length - 2)
    return {"seconds": seconds, "n_tokens": n_tokens, "loss": loss, "peak_memory": peak_memory()}


def running_text(sentences: list[Sentence], model: Model, length: int, n: int) -> list[Sentence]:
    """Cuts `n` sentences of `length` one-piece tokens from the text; keeps entities that are not cut."""
    tokens, spans = [], []
    for sentence in sentences:
        if all(len(model.tokenizer.pieces(token)) == 1 for token in sentence.tokens):
            spans += [Span(s.start + len(tokens), s.end + len(tokens), s.label) for s in sentence.spans]
            tokens += sentence.tokens
        if len(tokens) >= n * length:
            break
    if not tokens:
        raise DataError("no sentence with a piece a token, expected a set of characters")
    whole = [span for span in spans if span.start // length == (span.end - 1) // length]
    spans_by_part: dict[int, list[Span]] = {}
    for start, end, label in whole:
        spans_by_part.setdefault(start // length, []).append(
            Span(start % length, (end - 1) % length + 1, label)
        )
    n_parts = len(tokens) // length
    if not n_parts:
        raise DataError(f"{len(tokens)} tokens of text, expected {length} at least")
    parts = [
        Sentence.with_spans(tokens[i * length : (i + 1) * length], spans_by_part.get(i, ()))
        for i in range(n_parts)
    ]
    return [parts[i % n_parts] for i in range(n)]


def ours(args, model: Model, loader: FixedBatches, device: torch.device) -> tuple[float, float]:
    """Seconds of all batches but the first; the first batch's loss before training."""
    tagger = model.tagger.place(device, precision="bf16")
    first = loader.collate(loader.chosen[0]).to(device)
    with torch.inference_mode():
        loss = float(tagger.eval()(first)[1].sum()) / first.n_tokens
    if args.what == "training":
        return our_steps(tagger, loader), loss
    ends = []
    predict(tagger, loader, device=device, on_batch=lambda *batch: ends.append(clock()))
    return ends[-1] - ends[0], loss


def theirs(args, model: Model, loader: FixedBatches, device: torch.device) -> tuple[float, float]:
    """The same of transformers' model."""
    training = args.what == "training"
    dtype = torch.float32 if training else torch.bfloat16
    rival = hf_model(args.model_dir, device, dtype)
    precision = "bf16" if training else "fp32"
    first, *_ = batches = [hf_batch(model, loader.collate(indices), device) for indices in loader.chosen]
    with torch.inference_mode(), devices.autocast(device.type, precision):
        loss = rival(**first).loss.item()
    if training:
        return plain_loop(rival, batches, device), loss
    ends = []
    with torch.inference_mode():
        for batch in batches:
            rival(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1).tolist()
            ends.append(clock())
    return ends[-1] - ends[0], loss


def hf_batch(model: Model, batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    """The batch as transformers' arguments."""
    labels = torch.full_like(batch.piece_ids[:, 0], -100)
    labels[:, 1:-1] = model.tagger.head.cpu().gold_classes(batch)
    tensors = {"input_ids": batch.piece_ids[:, 0], "attention_mask": batch.piece_mask[:, 0].long()}
    return {name: tensor.to(device) for name, tensor in (tensors | {"labels": labels}).items()}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
