"""Speed of the code around the model: features against the HF tokenizer, scores against seqeval.

    python -m benchmarks.data --data_dir data/msra --threads 2 --out data.json

Features of the train and val splits (45,000 sentences of MSRA), from tokens in memory to piece ids and the
first piece of every token.  This code is `ner.data.windows.encode` with a tokenizer whose cache is empty.
The rivals:

HF fast tokenizer            called once on all sentences as lists of tokens (is_split_into_words), piece ids
                             only, with as many threads as torch (TOKENIZERS_PARALLELISM, RAYON_NUM_THREADS)
HF fast tokenizer, word_ids  also finds the first piece of every token by word_ids(), as labels need it

The check: the number of sentences with identical piece ids, and how many others differ only by tokens that
transformers drops: white space, zero-width characters.  In this code each token has a piece.

Scores of the test split: gold against gold in which one entity in ten is changed.  This code counts spans,
the output of its heads; a second arm first makes them from tags.  The rivals are seqeval's
classification_report of tags, by default and strict.  The check: precision, recall, F1 and support of every
type and of all.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import inputs, report
from benchmarks.timing import Arm, Measured, interleave, timed
from ner.annotations.span_scores import SpanScores, score
from ner.annotations.spans import read_labels
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.windows import Examples, encode
from ner.runtime import program
from ner.tags import Span, TagSet, spans_to_tags

OURS, FROM_TAGS = "this code", "this code, from tags"
FAST, ALIGNED = "HF fast tokenizer", "HF fast tokenizer, word_ids"
DEFAULT, STRICT = "seqeval's report", "seqeval's report, strict"
Figures = dict[str, tuple[float, float, float, int]]  # by type: precision, recall, F1, support


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, sentences=50)
    parser.add_argument("--sentences", type=int, help="at most so many of each split (default: all)")
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    inputs.start(args)
    # tokenizers reads them when it tokenises the first text
    os.environ |= {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(torch.get_num_threads())}
    before = report.machine()
    rivals = inputs.has_rivals("transformers")
    splits = {name: inputs.read(args, name)[: args.sentences] for name in ("train", "val", "test")}
    features = compare_features(args, [*splits["train"], *splits["val"]], rivals=rivals)
    scores = compare_scores(args, splits["test"])
    report.finish(args, before, [features, scores])


def compare_features(args: argparse.Namespace, sentences: list[Sentence], *, rivals: bool) -> dict:
    tokenizer = inputs.vocabulary()
    arms: dict[str, Arm] = {}
    if rivals:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(folder)
            arms |= hf_features(folder, sentences)

    def ours() -> tuple[float, Examples]:
        fresh = WordPiece(tokenizer.vocabulary, tokenizer.normalisation)
        return timed(lambda: encode(sentences, fresh))()

    arms[OURS] = ours
    measured = interleave(arms, rounds=args.rounds)
    checks = {OURS: ""}
    if rivals:
        check = compare_pieces(measured[OURS].result, measured[FAST].result, measured[ALIGNED].result)
        checks |= {FAST: check, ALIGNED: check}
    title = f"features of {len(sentences):,} sentences"
    return {"title": title, "rows": rows_of(title, measured, checks), "seconds": report.seconds(measured)}


def hf_features(model_dir: str, sentences: Sequence[Sentence]) -> dict[str, Arm]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokens = [list(sentence.tokens) for sentence in sentences]

    def pieces():
        return tokenizer(
            tokens,
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )

    def aligned() -> list[list[int]]:
        found = pieces()
        return [first_pieces(found.word_ids(row)) for row in range(len(tokens))]

    return {FAST: timed(pieces), ALIGNED: timed(aligned)}


def first_pieces(word_ids: Sequence[int]) -> list[int]:
    """[0, 0, 1, 2, 2] -> [0, 2, 3]."""
    before = [None, *word_ids]
    return [number for number, word in enumerate(word_ids) if word != before[number]]


def compare_pieces(examples: Examples, theirs: Any, starts: Sequence[list[int]]) -> str:
    """Counts sentences with the same pieces, and sentences that differ only by dropped tokens."""
    same, dropped = 0, 0
    for row, (ids, firsts) in enumerate(zip(theirs["input_ids"], starts, strict=True)):
        own, own_firsts = examples.of(row)
        if own.tolist() == ids and own_firsts.tolist() == firsts:
            same += 1
        else:
            by_token = np.split(own, own_firsts[1:])
            kept = [by_token[token] for token in sorted(set(theirs.word_ids(row)))]
            dropped += np.concatenate([own[:0], *kept]).tolist() == ids
    others = f", {dropped:,} more except for dropped tokens" if dropped else ""
    return f"{same:,} of {len(starts):,} sentences identical{others}"


def compare_scores(args: argparse.Namespace, sentences: list[Sentence]) -> dict:
    lengths = [len(sentence.tokens) for sentence in sentences]
    gold = [list(sentence.spans) for sentence in sentences]
    guess = changed(gold, read_labels(args.data_dir), args.seed)
    tags = [[spans_to_tags(row, n) for row, n in zip(spans, lengths, strict=True)] for spans in (gold, guess)]
    arms = {
        DEFAULT: timed(lambda: seqeval_figures(*tags)),
        STRICT: timed(lambda: seqeval_figures(*tags, strict=True)),
        FROM_TAGS: timed(lambda: our_figures(score(*map(spans_of, tags), lengths))),
        OURS: timed(lambda: our_figures(score(gold, guess, lengths))),
    }
    measured = interleave(arms, rounds=args.rounds)
    checks = {
        name: "figures identical" if same_figures(m.result, measured[OURS].result) else "figures differ"
        for name, m in measured.items()
    }
    title = f"scores of {len(sentences):,} sentences, {sum(map(len, gold)):,} entities"
    return {"title": title, "rows": rows_of(title, measured, checks), "seconds": report.seconds(measured)}


def changed(gold: Sequence[Sequence[Span]], labels: Sequence[str], seed: int) -> list[list[Span]]:
    """Gold in which one entity in ten is lost, shortened or has another label."""
    random = np.random.default_rng(seed)

    def one(span: Span) -> list[Span]:
        kind = random.integers(30)
        if kind == 0:
            return []
        if kind == 1 and span.end - span.start > 1:
            return [Span(span.start, span.end - 1, span.label)]
        return [Span(span.start, span.end, str(random.choice(labels)))] if kind == 2 else [span]

    return [[new for span in spans for new in one(span)] for spans in gold]


def spans_of(rows: Sequence[Sequence[str]]) -> list[list[Span]]:
    tag_set = TagSet(sorted({"O"}.union(*rows)), "BIO")
    return [tag_set.spans([tag_set.index[tag] for tag in tags]) for tags in rows]


def our_figures(scores: SpanScores) -> Figures:
    counts = scores.per_type | {"all": scores.total}
    return {label: (c.precision, c.recall, c.f1, c.n_gold) for label, c in counts.items()}


def seqeval_figures(gold: list[list[str]], guess: list[list[str]], *, strict: bool = False) -> Figures:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    options = {"mode": "strict", "scheme": IOB2} if strict else {}
    found = classification_report(gold, guess, output_dict=True, zero_division=0, **options)
    found["all"] = found["micro avg"]
    return {
        label: (f["precision"], f["recall"], f["f1-score"], int(f["support"]))
        for label, f in found.items()
        if not label.endswith(" avg")
    }


def same_figures(one: Figures, other: Figures) -> bool:
    return one.keys() == other.keys() and all(np.allclose(one[k], other[k], atol=1e-12) for k in one)


def rows_of(title: str, measured: dict[str, Measured], checks: dict[str, str]) -> list[dict]:
    return [
        {
            title: name,
            "seconds": f"{m.median:.4f}",
            "this code is faster by": report.times(m.median / measured[OURS].median),
            "check": checks[name],
        }
        for name, m in measured.items()
    ]


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
