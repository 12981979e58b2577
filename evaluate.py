"""Scores a model on a whole annotated split.

    python evaluate.py --data_dir data/msra --model_dir experiments/base_model --split test

`--model_dir` is an experiment (its best checkpoint), or any directory of a token classifier.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ner import files
from ner.annotations.spans import Scores, score
from ner.config import to_json
from ner.data.folder import read_split
from ner.data.sentence import Split
from ner.data.windows import LONG_TEXT
from ner.errors import DataError
from ner.model.directory import load, resolve_model_dir
from ner.runtime import devices, logs, program
from ner.runtime.logs import log
from ner.scoring.evaluate import annotated_loader, evaluate, missed_gold, unread_gold
from ner.scoring.prediction_files import write_predictions
from ner.scoring.suspicious import Margins, describe, suspicious, write_suspicious
from ner.scoring.tables import per_type_table

N_SHOWN = 10  # suspicious sentences that are printed


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", type=Path, default=Path("data/msra"))
    parser.add_argument("--model_dir", type=Path, default=Path("experiments/base_model"))
    parser.add_argument("--split", default="test", help="train, val or test (default)")
    parser.add_argument(
        "--restore_file", default="best", metavar="NAME", help="of an experiment: best or last"
    )
    parser.add_argument("--out_dir", type=Path, help="where results go (default: --model_dir)")
    parser.add_argument("--max_len", type=int, help="pieces a window (default: the model's)")
    parser.add_argument(
        "--long_text", choices=LONG_TEXT, help="what becomes of longer sentences (default: the model's)"
    )
    devices.add_batch_tokens(parser)
    parser.add_argument("--audit", action="store_true", help="rank the sentences whose gold the model doubts")
    devices.add_device_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    machine = devices.choose_machine(args)
    logs.start_log()
    split = read_split(args.data_dir, args.split)
    out_dir = args.out_dir or args.model_dir
    if not split.annotated:
        raise DataError(f"{args.data_dir / args.split}: no annotation to score against; predict.py tags it")
    options = {"max_len": args.max_len, "long_text": args.long_text}
    model = load(resolve_model_dir(args.model_dir, args.restore_file), **options)
    if args.audit and not model.tagger.head.is_likelihood:
        raise DataError(
            f"--audit: {args.model_dir} has a head whose loss is no probability, expected another"
        )
    if args.audit and model.long_text != "windows":
        raise DataError(f"--audit: long_text {model.long_text} leaves gold unread, expected windows")
    out_dir.mkdir(parents=True, exist_ok=True)
    for line in (*model.report, *missed_gold(model.tagger.head, split)):
        log.info(line)
    model.tagger.to(machine.device).precision = machine.precision
    model.tagger.max_cells = machine.batch_tokens
    loader = annotated_loader(model, split.sentences, batch_tokens=machine.batch_tokens)
    for line in unread_gold(loader, args.split):
        log.info(line)
    margins = Margins(model, len(split.sentences))
    options = {"on_batch": margins} if args.audit else {}
    scores, loss, predicted = evaluate(model, loader, device=machine.device, **options)
    if scores.total.n_gold != split.n_entities or scores.n_sentences != len(split.sentences):
        raise DataError(f"{scores.total.n_gold} entities scored, expected {split.n_entities} as in the file")
    summary = scores.summary() | {"loss": loss}
    summary |= seqeval_strict(split, predicted)
    report(args, split, model.tag_set.labels, scores, summary)
    path = out_dir / f"metrics_{args.split}.json"
    with files.whole_file(path) as file:
        file.write(to_json(summary))
    written = write_predictions(out_dir, args.split, split.sentences, predicted)
    log.info(f"written to {path} and {' and '.join(written)} beside it")
    if args.audit:
        report_suspicious(
            args.split, out_dir, *suspicious(split.sentences, predicted, margins, unit=model.unit)
        )


def seqeval_strict(split: Split, predicted: Sequence) -> dict:
    """What seqeval's strict mode says, where gold has illegal starts, which it does not count as gold."""
    if not split.illegal:
        return {}
    illegal = set(split.illegal)
    gold = [
        [span for span in sentence.spans if (line, span.start) not in illegal]
        for line, sentence in enumerate(split.sentences, start=1)
    ]
    lengths = [len(sentence.tokens) for sentence in split.sentences]
    strict = score(gold, predicted, lengths).total
    values = {
        "f1": strict.f1,
        "precision": strict.precision,
        "recall": strict.recall,
        "n_gold": strict.n_gold,
    }
    return {"seqeval_strict": values}


def report(
    args: argparse.Namespace, split: Split, labels: Sequence[str], scores: Scores, summary: dict
) -> None:
    """What a person reads."""
    total = scores.total
    log.info(f"\n{per_type_table(scores)}\n")
    log.info(
        f"{args.split}: {scores.n_sentences} sentences, {total.n_gold} gold entities, all scored: "
        f"P {100 * total.precision:.2f}  R {100 * total.recall:.2f}  F1 {100 * total.f1:.2f}  "
        f"loss {summary['loss']:.4f}  accuracy {100 * scores.accuracy:.2f} "
        f"(all O: {100 * scores.accuracy_all_o:.2f})"
    )
    if unknown := sorted(split.labels - set(labels)):
        log.info(f"labels that the model does not know, all counted as missed: {', '.join(unknown)}")
    if strict := summary.get("seqeval_strict"):
        log.info(
            f"{len(split.illegal)} gold tags are illegal; their entities count above as they read, "
            f"but not in seqeval's strict mode: F1 {100 * strict['f1']:.2f} on {strict['n_gold']} gold"
        )


def report_suspicious(split: str, out_dir: Path, objects: Sequence[dict], others: Mapping[str, int]) -> None:
    """Writes what the audit found, and shows the first of it."""
    path = write_suspicious(out_dir, split, objects)
    log.info(f"\nsentences whose gold the model doubts, the widest margins first: {len(objects):,} in {path}")
    for values in objects[:N_SHOWN]:
        log.info(f"  {describe(split, values)}")
    for reason, n in others.items():
        log.info(f"  not ranked, {reason}: {n:,}")


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
