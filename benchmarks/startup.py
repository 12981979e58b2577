"""Seconds and memory from the start of a process to its first batch, with 1,000 to 1,000,000 sentences.

    python -m benchmarks.startup --data_dir data/msra --threads 2 --out startup.json

The sentences of train, repeated as often as necessary, are written to disk as a built set.  Each figure comes
from its own process: imports, reading, tokenising, the order of the first epoch, its first batch.  The rival
does the same with transformers: the fast tokenizer on 1,000 sentences at a time, lists of ids and labels, and
a collator for the batch.  It reads the files by this code.
The check: the total number of pieces.  For this code the time to order an epoch is measured for the first and
the hundredth epoch; it does not depend on the number of epochs.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace

from benchmarks import inputs, report
from benchmarks.timing import add_worker, did_work, in_process, peak_memory, show
from ner.annotations.spans import SpanInventory, read_labels
from ner.data.batches import Batches, token_budget
from ner.data.folder import read_split, write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer_files import load_tokenizer
from ner.data.windows import Windows, encode
from ner.runtime import program
from ner.tags import TagSet, spans_to_tags

OURS, RIVAL = "this code", "HF tokenizer, lists"


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, counts=[10])
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        default=[1_000, 10_000, 100_000, 1_000_000],
        help="numbers of sentences",
    )
    add_worker(parser)
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    if did_work(args, lambda values: (ours if values.arm == OURS else theirs)(values)):
        return
    inputs.start(args)
    before = report.machine()
    names = [RIVAL, OURS] if inputs.has_rivals("transformers") else [OURS]
    sentences = inputs.read(args, "train")
    labels = read_labels(args.data_dir)
    rows, measured = [], []
    for n in args.counts:
        with tempfile.TemporaryDirectory() as made:
            write_set(Path(made), sentences, labels, n)
            found = measure(args, Path(made), n, names)
        measured.append({"sentences": n, "arms": found})
        rows += [row(n, name, found) for name in names]
    report.finish(args, before, [{"title": "start-up", "rows": rows, "measured": measured}])


def write_set(folder: Path, sentences: list[Sentence], labels: list[str], n: int) -> None:
    """Writes a built set with a train split of `n` sentences."""
    tags = TagSet.from_labels(labels, "BIO").tags
    (folder / "tags.txt").write_text("".join(f"{tag}\n" for tag in tags), encoding="utf-8")
    inputs.vocabulary().save(folder)
    write_split(folder / "train", islice(cycle(sentences), n))


def measure(args, folder: Path, n: int, names: list[str]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {name: [] for name in names}
    for number in range(args.rounds):
        for name in names:
            values = {"arm": name, "data_dir": str(folder), "threads": args.threads, "started": time.time()}
            found[name].append(in_process("benchmarks.startup", values))
            seconds = found[name][-1]["seconds"]
            show(f"round {number + 1} of {args.rounds}  {n} sentences, {name}: {seconds:.1f} s")
    return found


def row(n: int, name: str, found: dict[str, list[dict]]) -> dict:
    def median(key: str) -> float:
        return statistics.median(each[key] for each in found[name])

    same = len({each["n_pieces"] for rounds in found.values() for each in rounds}) == 1
    epochs = f"{median('first_epoch'):.3f}, {median('hundredth_epoch'):.3f}" if name == OURS else ""
    return {
        "start-up": f"{n:,} sentences: {name}",
        "seconds": f"{median('seconds'):.1f}",
        "peak MB": f"{median('peak_memory') / 1e6:,.0f}",
        "order of epoch 1, 100, seconds": epochs,
        "pieces": f"{found[name][0]['n_pieces']:,}{', the same' if same and len(found) > 1 else ''}",
    }


# in its own process


def ours(args: argparse.Namespace) -> dict:
    read = read_split(args.data_dir, "train")
    examples = encode(read.sentences, load_tokenizer(args.data_dir))
    windows = Windows(180)
    tag_set = TagSet.from_labels(read_labels(args.data_dir))
    targets = SimpleNamespace(
        inventories={"spans": SpanInventory(tag_set)}, learnable=lambda name, value: value
    )
    budget = token_budget(examples, windows, 32)
    loader = Batches(
        examples,
        windows=windows,
        batch_tokens=budget,
        targets=targets,
        seed=2019,
    )
    start = time.perf_counter()
    order = loader.batch_indices(0)
    first_epoch = time.perf_counter() - start
    loader.collate(order[0])
    seconds = time.time() - args.started
    start = time.perf_counter()
    loader.batch_indices(99)
    return {
        "seconds": seconds,
        "first_epoch": first_epoch,
        "hundredth_epoch": time.perf_counter() - start,
        "n_pieces": len(examples.pieces),
        "peak_memory": peak_memory(),
    }


def theirs(args: argparse.Namespace) -> dict:
    from transformers import AutoTokenizer, DataCollatorForTokenClassification

    if args.threads:
        os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.data_dir)
    sentences = read_split(args.data_dir, "train").sentences
    index = TagSet.from_labels(read_labels(args.data_dir), "BIO").index
    features = []
    for first in range(0, len(sentences), 1000):
        some = sentences[first : first + 1000]
        found = tokenizer(
            [list(s.tokens) for s in some], is_split_into_words=True, return_token_type_ids=False
        )
        for row, sentence in enumerate(some):
            tags = [index[tag] for tag in spans_to_tags(sentence.spans, len(sentence.tokens))]
            labels = [-100 if word is None else tags[word] for word in found.word_ids(row)]
            ids = found["input_ids"][row]
            features.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    del sentences
    DataCollatorForTokenClassification(tokenizer)(features[:32])
    seconds = time.time() - args.started
    n_pieces = sum(len(feature["input_ids"]) - 2 for feature in features)
    return {"seconds": seconds, "n_pieces": n_pieces, "peak_memory": peak_memory()}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
