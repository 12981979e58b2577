"""Speed of prediction: characters a second from texts to entities, of this code and its rivals.

    python -m benchmarks.infer --data_dir data/msra --threads 2 --compile --out infer.json

All arms tag the same `--sentences` of the test split, evenly spaced in length, with the same weights and
threads.  Every arm tags all of them once before it is timed.  The rivals:

HF pipeline            transformers' token-classification pipeline by default: fp32, one text at a time
HF pipeline bf16       the same with weights in bf16
HF pipeline bf16, 32   the same with batch_size=32, texts in the file's order
HF sorted loop bf16    the model with weights in bf16, texts sorted by length, batches under the same budget
                       of pieces as this code (`--batch_tokens`), the fast tokenizer, argmax: the loop that a
                       careful user writes

This code is `ner.inference.predict.tag_sentences`, as in predict.py: bf16 autocast, legal tags by Viterbi, a
probability for each entity.  The rivals take the best tag of each token and give no probabilities of
entities.  `--compile` adds an arm whose encoder goes through torch.compile, one graph for all shapes
(predict.py --compile); its first pass includes the compilation.

Left out, and counted, are sentences that are longer than a window, and sentences with a token of several
pieces or of a piece that transformers' tokenizer does not give.  The rivals get a space after each token, so
that both sides read the same pieces.
The check: the share of tokens with the same tag as transformers' model in fp32.  This code is compared with
the best legal path through that model's scores.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import inputs, report
from benchmarks.rivals import hf_model, hf_tokenizer
from benchmarks.timing import Arm, Measured, ceiling, evenly_spaced, forward_flop, interleave, timed
from ner.data.sentence import Sentence
from ner.data.windows import encode
from ner.errors import DataError
from ner.heads import viterbi
from ner.inference.predict import compile_encoder, tag_sentences
from ner.model.directory import Model, load
from ner.runtime import devices, program
from ner.tags import Span, spans_to_tags

OURS, COMPILED = "this code, bf16", "this code, bf16, compiled"
LEGAL = (OURS, COMPILED)  # arms that decode to legal tags
PIPELINE, LOOP = "HF pipeline", "HF sorted loop bf16"
Tags = list[list[str]]


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, sizes=["tiny"], sentences=24)
    inputs.add_sizes(parser)
    parser.add_argument(
        "--sentences", type=int, default=512, help="sentences of the test split (default: 512)"
    )
    devices.add_batch_tokens(parser)
    parser.add_argument("--compile", action="store_true", help="also measure this code with torch.compile")
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    device = inputs.start(args)
    before = report.machine()
    rivals = inputs.has_rivals("transformers")
    sentences = inputs.read(args, "test")
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            compare(args, size, sentences, Path(folder) / size, device, rivals=rivals) for size in args.sizes
        ]
    report.finish(args, before, tables)


def compare(
    args: argparse.Namespace,
    size: str,
    sentences: list[Sentence],
    model_dir: Path,
    device: torch.device,
    *,
    rivals: bool,
) -> dict:
    """Measures all arms with one size of the encoder."""
    sizes = inputs.SIZES[size]
    inputs.write_model(model_dir, sizes, args, sentences)
    model = inputs.open_model(model_dir, device, "bf16")
    fitting = same_pieces(sentences, model, model_dir, rivals=rivals)
    chosen = evenly_spaced(fitting, lambda sentence: len(sentence.tokens), args.sentences)
    chosen = [chosen[i] for i in np.random.default_rng(args.seed).permutation(len(chosen))]
    n_characters = sum(len(token) for sentence in chosen for token in sentence.tokens)
    budget = devices.choose_batch_tokens(args.batch_tokens, device)
    arms: dict[str, Arm] = {"ceiling": ceiling(sizes, budget, device)}
    truth: tuple[Tags, ...] = ()
    if rivals:
        arms |= hf_arms(model_dir, chosen, device, budget)
        truth = hf_truth(model_dir, chosen, device, budget)
    arms[OURS] = our_arm(model, chosen, device, budget)
    if args.compile:
        arms[COMPILED] = our_arm(
            compiled(inputs.open_model(model_dir, device, "bf16")), chosen, device, budget
        )
    measured = interleave(arms, rounds=args.rounds)
    peak = arms["ceiling"].flop / measured.pop("ceiling").median
    per_second = {name: n_characters / m.median for name, m in measured.items()}
    flop = forward_flop(sizes, [(1, len(sentence.tokens) + 2) for sentence in chosen])
    agreement = {name: same_share(m.result, truth[name in LEGAL]) for name, m in measured.items() if truth}
    rows = [row(name, measured, per_second, agreement, flop / peak) for name in measured]
    if truth:
        exact = our_arm(inputs.open_model(model_dir, device, "fp32"), chosen, device, budget)
        agreement["this code, fp32"] = same_share(exact()[1], truth[True])
        exactly = report.percent(agreement["this code, fp32"], 3)
        print(f"{size}: in fp32 this code gives {exactly} of the tokens the tag of HF fp32\n")
    return {
        "title": f"prediction, {inputs.size_name(size)}",
        "rows": rows,
        "ceiling_flop_per_second": peak,
        "characters_per_second": per_second,
        "sentences": {"tagged": len(chosen), "fitting": len(fitting), "of": len(sentences)},
        "tags_as_hf_fp32": agreement,
        "seconds": report.seconds(measured),
    }


def row(
    name: str,
    measured: dict[str, Measured],
    per_second: dict[str, float],
    agreement: dict[str, float],
    least_seconds: float,
) -> dict:
    """The table's row of one arm; `least_seconds` is the time of its real products at the ceiling."""
    speed = per_second[name]
    cells = {
        "prediction": name,
        "characters/s": f"{speed:,.0f}",
        "first pass": f"{measured[name].first:.1f} s",
        "real products, of the bf16 ceiling": report.percent(least_seconds / measured[name].median),
        "this code is faster by": report.times(per_second[OURS] / speed),
    }
    if COMPILED in per_second:
        cells["compiled by"] = report.times(per_second[COMPILED] / speed)
    if agreement:
        cells["tags as HF fp32"] = report.percent(agreement[name], 2)
    return cells


def same_pieces(
    sentences: Sequence[Sentence], model: Model, model_dir: Path, *, rivals: bool
) -> list[Sentence]:
    """Sentences of one window, one piece a token, with the same pieces by transformers' tokenizer."""
    examples = encode(sentences, model.tokenizer)
    n_tokens = np.diff(examples.token_ends)
    is_simple = (examples.n_pieces == n_tokens) & (n_tokens <= model.max_len - 2)
    kept = [int(i) for i in np.flatnonzero(is_simple)]
    if rivals and kept:
        theirs = hf_tokenizer(model_dir)([text_of(sentences[i]) for i in kept], add_special_tokens=False)
        ours = (examples.of(i)[0].tolist() for i in kept)
        kept = [i for i, a, b in zip(kept, theirs["input_ids"], ours, strict=True) if a == b]
    if not kept:
        raise DataError("no sentence of one window and a piece a token: expected a set of characters")
    return [sentences[i] for i in kept]


def text_of(sentence: Sentence) -> str:
    return " ".join(sentence.tokens)


def same_share(tags: Tags, truth: Tags) -> float:
    """Share of tokens with the same tag."""
    pairs = [pair for rows in zip(tags, truth, strict=True) for pair in zip(*rows, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


# this code


def compiled(model: Model) -> Model:
    """Compiles the model's encoder, without the caches of an earlier run."""
    import torch._inductor.config

    torch._inductor.config.force_disable_caches = True
    compile_encoder(model.tagger)
    return model


def our_arm(model: Model, sentences: list[Sentence], device: torch.device, batch_tokens: int) -> Arm:
    tag = timed(lambda: list(tag_sentences(model, sentences, device=device, batch_tokens=batch_tokens)))

    def arm() -> tuple[float, Tags]:
        seconds, answers = tag()
        return seconds, [tags_of(s, answer, model.unit) for s, answer in zip(sentences, answers, strict=True)]

    return arm


def tags_of(sentence: Sentence, answer: dict, unit: str) -> list[str]:
    """The tags of a sentence from entities with offsets in its text."""
    gap = 0 if unit == "char" else 1
    ends = np.cumsum([len(token) + gap for token in sentence.tokens]) - gap
    spans = []
    for entity in answer["entities"]:
        first, last = np.searchsorted(ends, [entity["start"] + 1, entity["end"]])
        spans.append(Span(int(first), int(last) + 1, entity["label"]))
    return spans_to_tags(spans, len(sentence.tokens))


# the rivals


def hf_arms(
    model_dir: Path, sentences: list[Sentence], device: torch.device, batch_tokens: int
) -> dict[str, Arm]:
    arms = {
        PIPELINE: pipeline_arm(model_dir, sentences, device, torch.float32, 1),
        f"{PIPELINE} bf16": pipeline_arm(model_dir, sentences, device, torch.bfloat16, 1),
        f"{PIPELINE} bf16, 32": pipeline_arm(model_dir, sentences, device, torch.bfloat16, 32),
    }
    model, tokenizer = hf_model(model_dir, device, torch.bfloat16), hf_tokenizer(model_dir)
    names = model.config.id2label

    def tag() -> Tags:
        rows = sorted_loop(
            model, tokenizer, sentences, batch_tokens, lambda logits: logits.argmax(-1).tolist()
        )
        return [[names[number] for number in row] for row in rows]

    return arms | {LOOP: timed(tag)}


def pipeline_arm(
    model_dir: Path, sentences: list[Sentence], device: torch.device, dtype: torch.dtype, batch_size: int
) -> Arm:
    from transformers import pipeline

    tagger = pipeline("token-classification", model=str(model_dir), dtype=dtype, device=device)
    texts = [text_of(sentence) for sentence in sentences]
    run = timed(lambda: tagger(texts, batch_size=batch_size))

    def arm() -> tuple[float, Tags]:
        seconds, answers = run()
        tags = [["O"] * len(sentence.tokens) for sentence in sentences]
        for row, entities in zip(tags, answers, strict=True):
            for entity in entities:  # one for each token that is not O; [CLS] is number 0
                row[entity["index"] - 1] = entity["entity"]
        return seconds, tags

    return arm


@torch.inference_mode()
def sorted_loop(
    model, tokenizer, sentences: list[Sentence], batch_tokens: int, read: Callable[[torch.Tensor], Sequence]
) -> list:
    """Applies `read` to the logits (rows, pieces, tags) of each batch; drops specials and padding."""
    texts, found = [text_of(sentence) for sentence in sentences], [None] * len(sentences)
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i].tokens), reverse=True)
    while order:
        rows = max(1, batch_tokens // (len(sentences[order[0]].tokens) + 2))
        batch, order = order[:rows], order[rows:]
        tensors = tokenizer([texts[i] for i in batch], padding=True, return_tensors="pt").to(model.device)
        for i, row in zip(batch, read(model(**tensors).logits), strict=True):
            found[i] = row[1 : len(sentences[i].tokens) + 1]
    return found


def hf_truth(
    model_dir: Path, sentences: list[Sentence], device: torch.device, batch_tokens: int
) -> tuple[Tags, Tags]:
    """Tags by transformers in fp32: the best tag of each token, and the best legal path."""
    model = hf_model(model_dir, device)
    tokenizer = hf_tokenizer(model_dir)
    logits = sorted_loop(model, tokenizer, sentences, batch_tokens, lambda x: x.double().cpu().numpy())
    ours = load(model_dir)
    names, transitions = ours.tag_set.tags, np.where(ours.tag_set.legal, 0.0, -np.inf)
    best = [[names[number] for number in row.argmax(-1)] for row in logits]
    paths = [viterbi.viterbi(row[None], np.array([len(row)]), transitions)[0] for row in logits]
    return best, [[names[number] for number in path] for path in paths]


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
