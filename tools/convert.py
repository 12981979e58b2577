"""Converts annotated text from one format to another.

    python tools/convert.py export.json --to bioes --out mine.txt
    python tools/convert.py brat_folder --to jsonl --out mine.jsonl

Between formats of texts with spans (jsonl, brat; also from cluener and labelstudio) the text and its
overlapping spans do not change.  Tokens with tags are joined to a text, without a gap (unit char) or with
spaces (word); the output counts the sentences whose text would be split into other tokens.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from build_dataset import add_reading_arguments, reading_from
from ner.data.findings import N_LISTED
from ner.data.formats import WRITABLE, Document, Texts, guess_format, load, to_document, to_texts
from ner.data.sentence import UNITS
from ner.errors import DataError
from ner.runtime.program import Parser, run


def parse_args(argv=None) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("input", type=Path, help="a file, or a folder of brat pairs")
    parser.add_argument("--to", choices=WRITABLE, required=True, help="the format to write")
    parser.add_argument("--out", type=Path, required=True, help="a new file; for brat a new folder")
    parser.add_argument("--unit", choices=UNITS, help="what a token is (default: guessed)")
    add_reading_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    if args.out.exists():
        raise DataError(f"{args.out}: exists, expected a new path")
    target = WRITABLE[args.to]
    reading = reading_from(args)
    if target.holds == "tokens" and reading.overlaps == "keep":
        reading = replace(reading, overlaps="refuse")  # one tag a token cannot express overlapping spans
    name = args.format or guess_format(args.input, reading)
    source = load(args.input, name, reading)
    converted = source
    if target.holds == "tokens" and isinstance(source, Texts):
        converted = to_document(source, unit=args.unit, drop_invalid=reading.drop_invalid)
    elif target.holds == "texts" and isinstance(source, Document):
        converted = to_texts(source, unit=args.unit)
    write(args.out, target.writer, converted)
    if args.format is None:
        print(f"{args.input.name}: format {name}, guessed (--format states it)")
    for line in findings(converted, source):
        print(line)
    print(f"written to {args.out}")


def write(out: Path, writer: Callable, converted: Document | Texts) -> None:
    """Writes to a draft and renames it, so that no incomplete output is left."""
    draft = out.with_name(f"{out.name}.unfinished")
    if not out.parent.is_dir():
        raise DataError(f"{out}: no such directory, expected {out.parent} to exist")
    try:
        writer(draft, converted)
        draft.rename(out)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def findings(converted: Document | Texts, source: Document | Texts) -> list[str]:
    """What a user should know, one finding a line; lists every entity that was left out."""
    lines = list(converted.notes)
    if isinstance(source, Document) or isinstance(converted, Document):
        left_out = list((source if isinstance(source, Document) else converted).left_out)
    else:
        left_out = [f"{path.name}:{line}: {problem}" for path, line, problem in converted.invalid]
    if left_out:
        lines += [f"entities left out, as asked: {len(left_out):,}", *(f"  {item}" for item in left_out)]
    if isinstance(source, Document) and source.illegal:
        lines.append(f"illegal tags, read leniently: {len(source.illegal):,}, beginning with")
        lines += [f"  {source.path.name}:{line}: {tag}" for line, tag in source.illegal[:N_LISTED]]
    return lines


if __name__ == "__main__":
    sys.exit(run(main, parse_args))
