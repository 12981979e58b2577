"""Builds a data set for train.py from annotated text: splits, tag list, counts and findings.

python build_dataset.py --download msra --out_dir data/msra
python build_dataset.py --train msra_train_bio --test msra_test_bio --out_dir data/msra --val_size 3000
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ner.data.audit import audit, corpus_of_build, corpus_of_folder
from ner.data.audit.report import as_files, summary
from ner.data.build import build, read_splits, refuse_illegal
from ner.data.download import SOURCES, fetch
from ner.data.findings import count_table, findings
from ner.data.folder import check_out_dir, write_dataset
from ner.data.formats import FORMATS, Reading
from ner.data.formats.columns import parse_columns
from ner.data.formats.tokens import tag_names
from ner.data.sentence import SPLITS, UNITS
from ner.errors import DataError
from ner.files import whole_file
from ner.runtime.program import Parser, run
from ner.tags import SCHEMES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        description="Builds a data set for train.py from annotated text.",
        epilog="Without --val and --val_size, a tenth of train, at most 3,000 sentences, becomes val.",
    )
    add = parser.add_argument
    add("--train", type=Path, metavar="FILE", help="annotated sentences")
    add("--val", type=Path, metavar="FILE", help="default: split off train")
    add("--test", type=Path, metavar="FILE", help="may lack tags, as --val may")
    add("--out_dir", type=Path, required=True, metavar="DIR", help="for example data/msra")
    add("--val_size", type=int, metavar="N", help="number of sentences split off train for val")
    add("--test_size", type=int, default=0, metavar="N", help="the same for test (default 0)")
    add("--train_size", type=int, metavar="N", help="keep N random sentences of train")
    add("--seed", type=int, default=2019, help="seed of the split (default 2019)")
    add_reading_arguments(parser)
    add("--unit", choices=UNITS, help="what a token is (default: guessed)")
    add("--strict", action="store_true", help="refuse illegal gold tags")
    audit_help = "write audit.md and audit.json; without --train or --download for the set in --out_dir"
    add("--audit", action="store_true", help=audit_help)
    add("--download", choices=SOURCES, help="use instead of --train and --test")
    add("--download_url", metavar="URL", help="a mirror of the archive")
    return parser.parse_args(argv)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options for reading annotated files; `reading_from` returns their values."""
    add = parser.add_argument
    add("--format", choices=FORMATS, help="format of the files (default: guessed)")
    add("--encoding", default="utf-8", help="encoding of the files (default utf-8)")
    columns_help = "conll, csv: numbers or names in a header (default 1 -1, or by the header); TAG may be 3,4"
    add("--columns", nargs=2, metavar=("TOKEN", "TAG"), help=columns_help)
    names_help = "names of tags that are numbers, or of B, I, O without a label; or a file, one name a line"
    add("--label_names", nargs="+", default=[], metavar="NAME", help=names_help)
    add("--strip_index", action="store_true", help="remove the number after each character: 北0 京1")
    add("--first_tag", action="store_true", help="of several tags of a token, B-a,B-b, take the first")
    add("--scheme", choices=SCHEMES, help="scheme of the tags (default: guessed from their prefixes)")
    nested_help = "overlapping spans: keep (default; for head global_pointer), refuse, or keep_longest"
    add("--nested", choices=["keep", "refuse", "keep_longest"], default="keep", help=nested_help)
    misfits_help = "spans that do not match their text, are in parts or cut a token (default: refuse)"
    add("--misfits", choices=["refuse", "leave_out"], default="refuse", help=misfits_help)
    add("--split_lines", action="store_true", help="texts with spans: every line becomes a sentence")


def reading_from(args: argparse.Namespace) -> Reading:
    same = ("encoding", "scheme", "split_lines", "strip_index", "first_tag")
    return Reading(
        columns=parse_columns(args.columns or ()) or None,
        label_names=tag_names(args.label_names),
        overlaps=args.nested,
        drop_invalid=args.misfits == "leave_out",
        **{name: getattr(args, name) for name in same},
    )


def main(args: argparse.Namespace) -> None:
    paths = {split: path for split in SPLITS if (path := getattr(args, split))}
    if args.download and ("train" in paths or "test" in paths):
        raise DataError(f"--download {args.download} replaces --train and --test; expected one of them")
    expected = f"--download {'|'.join(SOURCES)}"
    if args.download_url and not args.download:
        raise DataError(f"--download_url without --download, expected {expected} too")
    if not args.download and "train" not in paths:
        if not args.audit:
            raise DataError(f"no --train, expected --train FILE or {expected}")
        defaults = vars(parse_args(["--audit", f"--out_dir={args.out_dir}"]))
        if extra := [name for name, value in vars(args).items() if value != defaults[name]]:
            raise DataError(f"--{extra[0]} needs --train; --audit without --train takes only --out_dir")
        audit_folder(args.out_dir)
        return
    check_out_dir(args.out_dir, paths.values())
    with tempfile.TemporaryDirectory() as folder:
        if args.download:
            paths |= download(args.download, folder, url=args.download_url)
        documents = read_splits(paths, args.format, unit=args.unit, reading=reading_from(args))
    if args.strict:
        refuse_illegal(documents)
    sizes = {"train_size": args.train_size, "val_size": args.val_size, "test_size": args.test_size}
    dataset = build(documents, **sizes, seed=args.seed, unit=args.unit)
    corpus = corpus_of_build(documents, dataset)
    found = audit(corpus)
    write_dataset(args.out_dir, dataset, as_files(corpus, found) if args.audit else None)
    if args.format is None:
        for document in documents.values():
            print(f"{document.path.name}: format {document.format}, guessed (--format states it)")
    shown = found | {"illegal_tags": []}  # `findings` lists them already
    for line in [*findings(dataset.facts), *summary(corpus, shown)]:
        print(line)
    print(f"\n{count_table(dataset.facts)}\n\nwritten to {args.out_dir}")
    if "val" not in dataset.splits:
        print("no val, which train.py needs: --val FILE, or --val_size N of train")


def audit_folder(out_dir: Path) -> None:
    """Audits a built set and writes audit.md and audit.json into its folder."""
    corpus = corpus_of_folder(out_dir)
    found = audit(corpus)
    for name, text in as_files(corpus, found).items():
        with whole_file(out_dir / name) as file:
            file.write(text)
    print(*summary(corpus, found), f"\nwritten to {out_dir}: audit.md, audit.json", sep="\n")


def download(name: str, folder: str, *, url: str | None) -> dict[str, Path]:
    """Downloads a source into the folder; shows the progress if standard error is a terminal."""
    if not sys.stderr.isatty():
        return fetch(SOURCES[name], folder, url=url)
    try:
        return fetch(SOURCES[name], folder, url=url, on_progress=show_progress)
    finally:
        print(file=sys.stderr)


def show_progress(n_bytes: int, n_total: int | None) -> None:
    total = f" of {n_total / 1e6:.1f}" if n_total else ""
    print(f"\r{n_bytes / 1e6:.1f}{total} MB", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run(main, parse_args))
