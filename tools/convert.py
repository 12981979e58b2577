"""Annotated text from one format to another.

    python tools/convert.py export.json --to bioes --out mine.txt
    python tools/convert.py brat_folder --to jsonl --out mine.jsonl

Between formats of texts with spans (jsonl, brat; from cluener, labelstudio too) the text stays as it is,
and overlapping spans with it.  Tokens with tags become a text end to end (unit char) or with spaces between
(word); it is said where that text would be cut into other tokens.
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from build_dataset import add_reading_arguments, reading_options
from ner.data.describe import N_LISTED
from ner.data.formats import TOKEN_WRITERS, WRITERS, Document, Texts, cut, format_of, join, load
from ner.data.sentence import UNITS
from ner.errors import DataError
from ner.runtime.program import run


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("input", type=Path, help="a file, or a folder of brat's")
    parser.add_argument("--to", choices=WRITERS, required=True, help="the format to write")
    parser.add_argument("--out", type=Path, required=True, help="a new file; for brat a new folder")
    parser.add_argument("--unit", choices=UNITS, help="what a token is (default: guessed)")
    add_reading_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    if args.out.exists():
        raise DataError(f"{args.out}: exists, expected a new path")
    name = format_of(args.input, args.format, encoding=args.encoding, columns=args.columns)
    options = reading_options(args)
    if args.to in TOKEN_WRITERS and options["keep_longest"] is None:
        options["keep_longest"] = False
    source = load(args.input, name, **options)
    target = as_tokens(source, args) if args.to in TOKEN_WRITERS else as_texts(source, args)
    write(args.out, args.to, target)
    if args.format is None:
        print(f"{args.input.name}: format {name}, guessed (--format states it)")
    for line in findings(target, source):
        print(line)
    print(f"written to {args.out}")


def as_tokens(source: Document | Texts, args: argparse.Namespace) -> Document:
    if isinstance(source, Document):
        return source
    return cut(source, unit=args.unit, drop_invalid=args.misfits == "leave_out")


def as_texts(source: Document | Texts, args: argparse.Namespace) -> Texts:
    return join(source, unit=args.unit) if isinstance(source, Document) else source


def write(out: Path, name: str, target: Document | Texts) -> None:
    """The whole of it, or nothing."""
    draft = out.with_name(f"{out.name}.unfinished")
    if not out.parent.is_dir():
        raise DataError(f"{out}: no such directory, expected {out.parent} to be there")
    try:
        WRITERS[name](draft, target)
        draft.rename(out)
    finally:
        if draft.is_dir():
            shutil.rmtree(draft)
        draft.unlink(missing_ok=True)


def findings(target: Document | Texts, source: Document | Texts) -> list[str]:
    """What a user ought to know, a line each; every entity left out is listed."""
    lines = list(target.notes)
    if isinstance(target, Document):
        left_out = list(target.left_out)
    else:
        left_out = [f"{path.name}:{line}: {what}" for path, line, what in target.invalid]
    if left_out:
        lines += [f"entities left out, as asked: {len(left_out):,}", *(f"  {item}" for item in left_out)]
    if isinstance(source, Document) and source.illegal:
        lines.append(f"illegal tags, read leniently: {len(source.illegal):,}, the first of which are")
        lines += [f"  {source.path.name}:{line}: {tag}" for line, tag in source.illegal[:N_LISTED]]
    return lines


if __name__ == "__main__":
    sys.exit(run(main, parse_args))
