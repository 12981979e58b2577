"""Where the time goes: the share of each kind of work in a training step and in prediction, on a CPU.

    python -m benchmarks.shares --data_dir data/msra --threads 2 --compile --out shares.json

Runs torch.profiler over the same batches as benchmarks.train (`--batches`) and the same kind of sentences as
benchmarks.infer (`--sentences`), after a pass that is not counted.  Each operator counts with its own time,
without the operators that it calls.  The remaining time is Python, numpy and the profiler.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import inputs, report
from benchmarks.infer import compiled, same_pieces
from benchmarks.steps import our_steps, some_batches
from benchmarks.timing import evenly_spaced
from ner.data.batches import token_budget
from ner.data.windows import Windows, encode
from ner.errors import DataError
from ner.inference.predict import tag_sentences
from ner.runtime import devices, program

CPU = torch.device("cpu")
PRODUCTS, COMPILED, OTHER, OUTSIDE = "matrix products", "compiled", "other operators", "Python and numpy"
KINDS = {  # an operator belongs to the first kind with one of these parts in the operator's name
    PRODUCTS: ("addmm", "::mm", "bmm", "_linear_pointwise"),
    COMPILED: ("graph", "compiled"),
    "softmax": ("softmax",),
    "attention, fused": ("scaled_dot_product",),
    "copies and casts": ("copy", "clone", "::cat"),
    "GELU": ("gelu",),
    "layer norm": ("layer_norm",),
    "random numbers": ("random", "uniform", "bernoulli"),
    "sums and element by element": (
        *("::add", "::sub", "::mul", "::div", "::where", "::masked_fill", "::sum", "::neg", "::exp"),
        *("::ge", "::lt", "::bitwise"),
    ),
    "embeddings": ("embedding", "index", "gather", "scatter"),
    "AdamW, clipping, zeroing": ("adam", "foreach", "zero_", "fill_"),
}


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, rounds=1, sizes=["tiny"], batches=2, sentences=24)
    inputs.add_sizes(parser)
    parser.add_argument("--batches", type=int, default=8, help="training batches (default: 8)")
    parser.add_argument("--sentences", type=int, default=512, help="sentences to predict (default: 512)")
    parser.add_argument("--batch_size", type=int, default=32, help="mean sentences a batch of training")
    parser.add_argument("--max_len", type=int, default=180, help="pieces a window of training")
    parser.add_argument("--compile", action="store_true", help="also predict with a compiled encoder")
    devices.add_batch_tokens(parser)
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    device = inputs.start(args)
    if device.type != "cpu":
        raise DataError(
            f"--device {device}: expected cpu; on a GPU an operator returns before its work is done"
        )
    before = report.machine()
    train, test = inputs.read(args, "train"), inputs.read(args, "test")
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in args.sizes:
            model_dir = Path(folder) / size
            inputs.write_model(model_dir, inputs.SIZES[size], args, train)
            columns[f"training, {size}"] = shares(training(args, model_dir, train), args.rounds)
            columns[f"prediction, {size}"] = shares(prediction(args, model_dir, test), args.rounds)
            if args.compile:
                work = prediction(args, model_dir, test, compiled)
                columns[f"prediction, {size}, compiled"] = shares(work, args.rounds)
    kinds = [kind for kind in (*KINDS, OTHER, OUTSIDE) if any(kind in column for column in columns.values())]
    rows = [{"of the time": k} | {n: report.percent(c.get(k, 0)) for n, c in columns.items()} for k in kinds]
    report.finish(args, before, [{"title": "of the time", "rows": rows, "shares": columns}])


def training(args: argparse.Namespace, model_dir: Path, sentences: list) -> Callable[[], None]:
    """Training steps in bf16, one more than `--batches`."""
    model = inputs.open_model(model_dir, CPU, "bf16")
    examples, windows = encode(sentences, model.tokenizer), Windows(args.max_len)
    budget = token_budget(examples, windows, args.batch_size)
    loader = some_batches(examples, model, windows, batch_tokens=budget, n=args.batches, seed=args.seed)
    return lambda: our_steps(model.tagger, loader)


def prediction(
    args: argparse.Namespace, model_dir: Path, sentences: list, prepare: Callable = lambda model: model
) -> Callable[[], None]:
    """Prediction of entities in bf16."""
    model = prepare(inputs.open_model(model_dir, CPU, "bf16"))
    fitting = same_pieces(sentences, model, model_dir, rivals=False)
    chosen = evenly_spaced(fitting, lambda sentence: len(sentence.tokens), args.sentences)
    options = {"device": CPU, "batch_tokens": devices.choose_batch_tokens(args.batch_tokens, CPU)}
    return lambda: list(tag_sentences(model, chosen, **options))


def shares(work: Callable[[], None], rounds: int) -> dict[str, float]:
    """Share of each kind in the time of `work`, which first runs once without profiling."""
    work()
    spent: defaultdict[str, float] = defaultdict(float)
    whole = 0.0
    for _ in range(rounds):
        with profile(activities=[ProfilerActivity.CPU]) as measured:
            start = time.perf_counter()
            work()
            whole += time.perf_counter() - start
        for operator in measured.key_averages():
            spent[kind_of(operator.key)] += operator.self_cpu_time_total / 1e6
    spent[OUTSIDE] = whole - sum(spent.values())
    return {kind: seconds / whole for kind, seconds in spent.items()}


def kind_of(operator: str) -> str:
    name = operator.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), OTHER)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
