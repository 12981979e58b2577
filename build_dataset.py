"""Builds a data set for train.py out of annotated text: splits, tag list, counts and findings.

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
from ner.data.build import build, refuse_illegal
from ner.data.describe import findings, table
from ner.data.download import SOURCES, fetch
from ner.data.folder import check_out_dir, write_dataset
from ner.data.formats import FORMATS, Document, read
from ner.data.sentence import SPLITS, UNITS
from ner.errors import DataError
from ner.files import whole_file
from ner.runtime.program import run
from ner.tags import SCHEMES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Builds a data set for train.py out of annotated text.",
        epilog="Without --val and --val_size, a tenth of train, 3,000 sentences at most, becomes val.",
    )
    parser.add_argument("--train", type=Path, metavar="FILE", help="annotated sentences")
    parser.add_argument("--val", type=Path, metavar="FILE", help="default: split off train")
    parser.add_argument("--test", type=Path, metavar="FILE", help="may lack tags, as --val may")
    parser.add_argument("--out_dir", type=Path, required=True, metavar="DIR", help="such as data/msra")
    parser.add_argument("--val_size", type=int, metavar="N", help="sentences split off train for val")
    parser.add_argument("--test_size", type=int, default=0, metavar="N", help="and for test (default 0)")
    parser.add_argument("--train_size", type=int, metavar="N", help="keep N of train's, taken at random")
    parser.add_argument("--seed", type=int, default=2019, help="of the split (default 2019)")
    add_reading_arguments(parser)
    parser.add_argument("--unit", choices=UNITS, help="what a token is (default: guessed)")
    parser.add_argument("--strict", action="store_true", help="refuse illegal gold tags")
    parser.add_argument(
        "--audit",
        action="store_true",
        help="write audit.md and audit.json; without --train or --download of what stands in --out_dir",
    )
    parser.add_argument("--download", choices=SOURCES, help="in place of --train and --test")
    parser.add_argument("--download_url", metavar="URL", help="a mirror of the archive")
    return parser.parse_args(argv)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How annotated files are read; `reading_options` hands them on."""
    parser.add_argument("--format", choices=FORMATS, help="of the files (default: guessed)")
    parser.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    parser.add_argument(
        "--columns", type=int, nargs=2, metavar=("TOKEN", "TAG"), help="of --format conll (default 1 -1)"
    )
    parser.add_argument("--scheme", choices=SCHEMES, help="of the tags (default: guessed from prefixes)")
    parser.add_argument(
        "--nested",
        choices=["keep", "refuse", "keep_longest"],
        help="what of spans that overlap (default keep, for head global_pointer; refuse where tags are "
        "written); keep_longest lists the others",
    )
    parser.add_argument(
        "--misfits",
        choices=["refuse", "leave_out"],
        default="refuse",
        help="what of spans off their text, in parts or cutting a token; leave_out lists them",
    )
    parser.add_argument(
        "--split_lines", action="store_true", help="a sentence a line of each text with spans"
    )


def reading_options(args: argparse.Namespace) -> dict:
    """The options of `ner.data.formats.load`, from the command line."""
    return {
        "encoding": args.encoding,
        "scheme": args.scheme,
        "columns": args.columns,
        "by_line": args.split_lines,
        "keep_longest": {"refuse": False, "keep_longest": True}.get(args.nested),
        "drop_invalid": args.misfits == "leave_out",
    }


def main(args: argparse.Namespace) -> None:
    given = {split: getattr(args, split) for split in SPLITS if getattr(args, split)}
    _check_options(args, given)
    if "train" not in given and not args.download:
        audit_folder(args)
        return
    check_out_dir(args.out_dir, given.values())
    documents = _read(args, given)
    if args.strict:
        refuse_illegal(documents)
    dataset = build(
        documents,
        val_size=args.val_size,
        test_size=args.test_size,
        train_size=args.train_size,
        seed=args.seed,
        unit=args.unit,
    )
    corpus = corpus_of_build(documents, dataset)
    found = audit(corpus)
    write_dataset(args.out_dir, dataset, as_files(corpus, found) if args.audit else None)
    if args.format is None:
        for document in documents.values():
            print(f"{document.path.name}: format {document.format}, guessed (--format states it)")
    for line in [*findings(dataset.facts), *summary(corpus, found | {"illegal_tags": []})]:
        print(line)
    print(f"\n{table(dataset.facts)}\n\nwritten to {args.out_dir}")
    if "val" not in dataset.splits:
        print("no val, which train.py needs: --val FILE, or --val_size N of train")


def audit_folder(args: argparse.Namespace) -> None:
    """Audits a built set as it stands, and writes what was found beside it."""
    alone = vars(parse_args(["--audit", f"--out_dir={args.out_dir}"]))
    if options := [name for name, value in vars(args).items() if value != alone[name]]:
        raise DataError(f"--{options[0]} is of a build; --audit without --train takes --out_dir alone")
    corpus = corpus_of_folder(args.out_dir)
    found = audit(corpus)
    for name, text in as_files(corpus, found).items():
        with whole_file(args.out_dir / name) as file:
            file.write(text)
    print(*summary(corpus, found), f"\nwritten to {args.out_dir}: audit.md, audit.json", sep="\n")


def _check_options(args: argparse.Namespace, given: dict[str, Path]) -> None:
    if args.download and ("train" in given or "test" in given):
        raise DataError(
            f"--download {args.download} stands in place of --train and --test; expected one of them"
        )
    if not args.download and "train" not in given and not args.audit:
        raise DataError(f"no --train, expected --train FILE or --download {'|'.join(SOURCES)}")
    if args.download_url and not args.download:
        raise DataError(f"--download_url without --download, expected --download {'|'.join(SOURCES)} too")


def _read(args: argparse.Namespace, given: dict[str, Path]) -> dict[str, Document]:
    with tempfile.TemporaryDirectory() as folder:
        paths = given | _fetch(args, folder) if args.download else given
        options = reading_options(args)
        documents = {"train": read(paths["train"], args.format, unit=args.unit, **options)}
        unit = documents["train"].unit or args.unit  # val and test are cut as train is
        for split in SPLITS[1:]:
            if split in paths:
                documents[split] = read(paths[split], args.format, unit=unit, **options)
        return documents


def _fetch(args: argparse.Namespace, folder: str) -> dict[str, Path]:
    source = SOURCES[args.download]
    if not sys.stderr.isatty():
        return fetch(source, folder, url=args.download_url)
    try:
        return fetch(source, folder, url=args.download_url, progress=_show_progress)
    finally:
        print(file=sys.stderr)


def _show_progress(n_bytes: int, n_bytes_in_all: int | None) -> None:
    in_all = f" of {n_bytes_in_all / 1e6:.1f}" if n_bytes_in_all else ""
    print(f"\r{n_bytes / 1e6:.1f}{in_all} MB", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run(main, parse_args))
