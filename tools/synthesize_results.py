"""Makes one table of experiments: means, deviations, intervals, and which differences are significant.

    python tools/synthesize_results.py experiments/softmax experiments/crf --baseline experiments/softmax

Each argument is a system: an experiment directory, a series of `train.py --seeds` (its runs are the
`seed-N` inside), or `NAME=DIR,DIR,...` for any list of runs.  Run `evaluate.py --split SPLIT` on each first.
If files are missing, their columns stay empty and a message names them.
"""

import argparse
import csv
import io
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.errors import DataError
from ner.files import numbered
from ner.runtime import logs, program
from ner.runtime.logs import log
from ner.scoring.tables import markdown_table
from ner.studies.results import LEVEL, Row, Run, check_comparable, compare, counts_by_run, summarise


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("systems", nargs="+", metavar="SYSTEM", help="DIR, or NAME=DIR,DIR,...")
    add("--split", default="test", help="train, val or test (default)")
    add("--baseline", help="the system that the others are tested against")
    add("--format", choices=("markdown", "csv"), default="markdown")
    add("--resamples", type=int, default=10_000, help="resamples of the bootstrap, and shuffles of the test")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    logs.start_log()
    if args.resamples < 1:
        raise DataError(f"--resamples {args.resamples}: expected 1 or more")
    systems = dict(read_system(text, args.split) for text in args.systems)
    if len(systems) < len(args.systems):
        raise DataError(f"got {len(args.systems)} systems of {len(systems)} names, expected different ones")
    baseline = args.baseline and name_of(args.baseline)
    if baseline and baseline not in systems:
        raise DataError(f"--baseline {baseline}: no such system, expected one of {', '.join(systems)}")
    check_comparable(systems)
    for runs in systems.values():
        for run in runs:
            if run.missing_file:
                log.info(f"{run.directory}: no {run.missing_file}, the columns that need it are empty")
    rows = [summarise(name, runs, args.resamples) for name, runs in systems.items()]
    if baseline:
        compare(rows, systems, baseline, args.resamples)
    print(as_csv(rows) if args.format == "csv" else as_markdown(rows, systems, args), end="")


def name_of(text: str) -> str:
    """The name of a system: the path of a directory without a slash at its end, or the text itself."""
    return str(Path(text)) if Path(text).is_dir() else text


def read_system(text: str, split: str) -> tuple[str, list[Run]]:
    """Returns name and runs of a SYSTEM argument; DataError if a directory has no results."""
    name, equals, listed = text.partition("=")
    parts = listed.split(",")
    if Path(text).is_dir() or not equals:
        name, parts = name_of(text), [text]
    runs = [Run(folder, split) for part in parts for folder in runs_in(Path(part))]
    seen = set()
    for run in runs:
        if run.directory.resolve() in seen:
            raise DataError(f"{run.directory}: twice in {name}, expected each run once")
        seen.add(run.directory.resolve())
        if not run.epochs and run.scores is None:
            raise DataError(
                f"{run.directory}: no metrics.jsonl, no metrics_{split}.json, expected one of them"
            )
    return name, runs


def runs_in(directory: Path) -> list[Path]:
    """The directories of a series by seed, or the directory itself if it is one experiment."""
    seeds = list(numbered(directory, "seed-").values())
    if seeds and (directory / "metrics.jsonl").exists():
        log.info(f"{directory}: only the runs seed-* inside are read, not the run of the directory itself")
    return seeds or [directory]


def as_csv(rows: list[Row]) -> str:
    """All digits of every figure, as fractions; empty for None."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return file.getvalue()


def as_markdown(rows: list[Row], systems: dict[str, list[Run]], args: argparse.Namespace) -> str:
    """Percentages, with an explanation below."""
    heading = ["system", "runs", "val F1", *(f"{args.split} {name}" for name in ("P", "R", "F1")), "95%"]
    heading += ["difference", "verdict"] if args.baseline else []
    heading += ["s an epoch", "minutes", "MB"]
    lines = [heading]
    for row in rows:
        line = [row.system, str(row.runs), mean(row.val_f1, row.val_f1_deviation)]
        line += [mean(row.precision), mean(row.recall), mean(row.f1, row.f1_deviation)]
        line += ["–" if row.f1_low is None else f"{100 * row.f1_low:.2f}–{100 * row.f1_high:.2f}"]
        if args.baseline:
            line += ["–" if row.difference is None else f"{100 * row.difference:+.2f}", tested(row)]
        line += ["–" if n is None else f"{n:.1f}" for n in (row.seconds_an_epoch, row.minutes)]
        line += ["–" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"]
        lines.append(line)
    return f"{markdown_table(lines)}\n\n{explanation(rows, systems, args)}\n"


def mean(value: float | None, deviation: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")


def tested(row: Row) -> str:
    """The verdict, with p if the difference was tested."""
    if row.p is None:
        return row.verdict
    return f"{row.verdict} (p {'< 0.001' if row.p < 0.001 else f'= {row.p:.3f}'})"


def explanation(rows: list[Row], systems: dict[str, list[Run]], args: argparse.Namespace) -> str:
    """Says how the figures were computed and what they do not show."""
    parts = ["Percent; val F1 of the best epoch; ± standard deviation over the runs (n - 1)."]
    if counts := next(filter(None, map(counts_by_run, systems.values())), None):
        parts.append(
            f"{args.split}: {len(counts[0])} sentences, {counts[0][:, 2].sum()} gold entities. "
            f"95%: percentile bootstrap of F1 over sentences, {args.resamples} resamples."
        )
    several = "several runs answer with their mean counts, " if any(row.runs > 1 for row in rows) else ""
    if n_tests := sum(row.p is not None for row in rows):
        parts.append(
            f"p: paired approximate randomisation over sentences against {name_of(args.baseline)}, "
            f"two-sided, {args.resamples} shuffles, {several}"
            f"Holm's correction for the number of comparisons, {n_tests}; not significant: p > {LEVEL}."
        )
        if any(row.runs == 1 for row in rows):
            parts.append(
                "The interval and p are about other sentences; one run cannot show what another seed changes."
            )
    return " ".join(parts)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
