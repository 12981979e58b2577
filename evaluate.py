"""Scores a model on a whole annotated split.

    python evaluate.py --data_dir data/msra --model_dir experiments/base_model --split test

`--model_dir` is an experiment (its best checkpoint is scored), or any directory of a token classifier.
"""

import argparse
import sys
from pathlib import Path

from ner.config import to_json
from ner.data.folder import check_gold, read_split
from ner.data.windows import LONG_TEXT
from ner.errors import DataError
from ner.files import whole_file
from ner.inference.predict import OnBatch
from ner.inference.scheme_check import SchemeCheck
from ner.model.directory import load, resolve_model_dir
from ner.runtime import devices, logs, program
from ner.runtime.logs import log
from ner.scoring import evaluate as scoring
from ner.scoring.suspicious import Margins, report_suspicious, suspicious


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("data/msra"))
    add("--model_dir", type=Path, default=Path("experiments/base_model"))
    add("--split", default="test", help="train, val or test (default)")
    add("--restore_file", default="best", metavar="NAME", help="checkpoint of an experiment: best or last")
    add("--out_dir", type=Path, help="where results go (default: --model_dir)")
    add("--max_len", type=int, help="pieces of a window (default: the model's)")
    add("--long_text", choices=LONG_TEXT, help="how to read longer sentences (default: the model's)")
    devices.add_batch_tokens(parser)
    program.add_tag_arguments(parser)
    add("--audit", action="store_true", help="rank the sentences whose gold the model doubts")
    devices.add_device_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    machine = devices.choose_machine(args)
    logs.start_log()
    split = read_split(args.data_dir, args.split)
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    model = load(
        model_dir,
        max_len=args.max_len,
        long_text=args.long_text,
        scheme=args.scheme,
        label_names=args.label_names,
    )
    head = model.tagger.head
    check_gold(split, args.data_dir / args.split, head.annotations)
    if args.audit and not ("spans" in head.annotations and head.is_likelihood):
        raise DataError(
            f"--audit: {args.model_dir} has a head without probabilities of a tagging, expected another"
        )
    if args.audit and model.long_text != "windows":
        raise DataError(f"--audit: long_text {model.long_text} leaves gold unread, expected windows")
    out_dir = args.out_dir or args.model_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    for line in model.report:
        log.info(line)
    scoring.log_missed_gold(head, split.sentences)
    model.tagger.place(machine.device, precision=machine.precision, max_cells=machine.batch_tokens)
    batches = scoring.annotated_batches(model, split.sentences, batch_tokens=machine.batch_tokens)
    scoring.log_unread_gold(batches, args.split)

    def score(collect: OnBatch) -> tuple[scoring.Evaluation, Margins | None]:
        margins = Margins(head, len(split.sentences)) if args.audit else None
        seen = (collect, margins) if margins else (collect,)
        options = {"on_batch": lambda *facts: [see(*facts) for see in seen]}
        return scoring.evaluate(model, batches, device=machine.device, **options), margins

    result, margins = SchemeCheck(model)(score)
    for name, scores in result.scores.items():
        n_gold = scoring.count_gold(split.sentences, name)
        if scores.n_gold != n_gold:
            raise DataError(f"{scores.n_gold} of {n_gold} gold items were scored, expected all of the file")
    strict = scoring.seqeval_strict(split, result)
    summary = result.summary() | ({"seqeval_strict": strict} if strict else {})
    scoring.log_scores(args.split, split, result, inventories=head.inventories, strict=strict)
    path = out_dir / f"metrics_{args.split}.json"
    with whole_file(path) as file:
        file.write(to_json(summary))
    written = scoring.write_predictions(out_dir, args.split, split.sentences, result)
    log.info(f"written to {path} and {' and '.join(written)} beside it")
    if margins:
        found, others = suspicious(split.sentences, result.predicted("spans"), margins, unit=model.unit)
        report_suspicious(out_dir, args.split, found, others)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
