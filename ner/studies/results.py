"""Reads the results of experiments back from their directories and summarises several of them."""

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ner.config import require
from ner.errors import DataError
from ner.files import read_json, read_text_lines
from ner.studies.significance import (
    bootstrap,
    count,
    holm,
    mean_and_deviation,
    precision_recall_f1,
    randomisation,
)
from ner.tags import Span
from ner.training.run_dir import ALIKE

LEVEL = 0.05  # a difference is significant if its p is at most this


def read_epochs(directory: Path) -> list[dict]:
    """Reads the lines of `metrics.jsonl`, each with the score that ranks it under the key `headline`.

    No lines if there is no such file; DataError names the first that is not the line of an epoch.
    """
    path, resolved = directory / "metrics.jsonl", directory / "resolved.json"
    if not path.exists():
        return []
    # runs whose resolved.json names no headline were ranked by F1
    headline = read_json(resolved).get("headline", "val_f1") if resolved.exists() else "val_f1"
    keys = {"epoch": int, headline: float, "seconds": float}

    def parse(values: dict) -> dict:
        for key, kind in keys.items():
            require(isinstance(values[key], kind | int), key, values[key], "a number")
        return values | {"headline": values[headline]}

    return _parse_lines(path, "an epoch", parse)


def _parse_lines(path: Path, what: str, parse: Callable[[dict], Any]) -> list:
    """What `parse` makes of each line, a JSON object; DataError names the first that it cannot take."""
    parsed = []
    for number, line in enumerate(read_text_lines(path), start=1):
        try:
            parsed.append(parse(json.loads(line)))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not the line of {what}, {error!r}") from None
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not parsed:
        raise DataError(f"{path}: empty, expected a line {what}")
    return parsed


def headlines(directory: Path) -> list[float]:
    """The score that ranks each epoch so far, a fraction; its maximum belongs to the model `best`."""
    return [epoch["headline"] for epoch in read_epochs(directory)]


@dataclass(frozen=True)
class Answers:
    """A model's answers on a split, as counts."""

    counts: np.ndarray
    "(S, 3) int64: correct, predicted and gold entities of each sentence"
    gold: str
    "hash of the sentences and their gold; runs are comparable only if it is the same"


@dataclass(frozen=True)
class Run:
    """An experiment directory.  A property is None, or empty, if its file is missing."""

    directory: Path
    split: str

    @cached_property
    def epochs(self) -> list[dict]:
        return read_epochs(self.directory)

    @cached_property
    def scores(self) -> tuple[float, float, float] | None:
        """Precision, recall and F1 on the split."""
        path = self.directory / f"metrics_{self.split}.json"
        if not path.exists():
            return None
        values = read_json(path)
        scores = tuple(values.get(name) for name in ("precision", "recall", "f1"))
        if not all(isinstance(score, int | float) for score in scores):
            raise DataError(f"{path}: precision, recall, f1: got {scores}, expected numbers")
        return scores

    @cached_property
    def answers(self) -> Answers | None:
        path, digest = self.directory / f"predictions_{self.split}.jsonl", hashlib.sha256()
        if self.scores is None or not path.exists():
            return None

        def parse(values: dict) -> np.ndarray:
            truth, guess = ([Span(*span) for span in values[name]] for name in ("gold", "predicted"))
            digest.update(json.dumps([values["tokens"], sorted(truth)]).encode())
            return count([truth], [guess])

        counts = np.concatenate(_parse_lines(path, "a sentence", parse))
        counted = precision_recall_f1(counts.sum(axis=0))
        if not np.allclose(counted, self.scores, rtol=0, atol=1e-9):
            scored = f"{self.scores[2]:.4f} as in metrics_{self.split}.json"
            raise DataError(f"{path}: F1 is {counted[2]:.4f}, expected {scored}")
        return Answers(counts, digest.hexdigest())

    @property
    def missing_file(self) -> str:
        """Name of the first missing file; "" if none is missing."""
        results = {
            "metrics.jsonl": self.epochs,
            f"metrics_{self.split}.json": self.scores,
            f"predictions_{self.split}.jsonl": self.answers,
        }
        return next((name for name, value in results.items() if not value), "")


@dataclass
class Row:
    """A system: one run, or several that differ only in their seed.

    Scores are fractions.  A value is None if the results of a run do not have it.
    """

    system: str
    runs: int
    val_f1: float | None = None
    val_f1_deviation: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    f1_deviation: float | None = None
    f1_low: float | None = None
    f1_high: float | None = None
    difference: float | None = None
    p: float | None = None
    "p of the difference to the baseline, corrected for the number of comparisons"
    verdict: str = ""
    seconds_an_epoch: float | None = None
    minutes: float | None = None
    "training time of a run, without validation"
    peak_memory_mb: float | None = None
    "maximum over the runs"


def summarise(system: str, runs: Sequence[Run], n_resamples: int) -> Row:
    """Fills in means and deviations over the runs, and the interval over the sentences."""
    row = Row(system, len(runs))
    if all(run.epochs for run in runs):
        best = [max(epoch["headline"] for epoch in run.epochs) for run in runs]
        row.val_f1, row.val_f1_deviation = mean_and_deviation(best)
        seconds = [[epoch["seconds"] for epoch in run.epochs] for run in runs]
        row.seconds_an_epoch = statistics.mean(map(statistics.mean, seconds))
        row.minutes = statistics.mean(map(sum, seconds)) / 60
        # a resumed run starts to measure its peak again
        peaks = [epoch.get("peak_memory_mb") for run in runs for epoch in run.epochs]
        row.peak_memory_mb = None if None in peaks else max(peaks)
    if all(run.scores for run in runs):
        precisions, recalls, f1s = zip(*(run.scores for run in runs), strict=True)
        row.precision, row.recall = statistics.mean(precisions), statistics.mean(recalls)
        row.f1, row.f1_deviation = mean_and_deviation(f1s)
    if counts := counts_by_run(runs):
        row.f1_low, row.f1_high = bootstrap(counts, n_resamples=n_resamples)
    return row


def counts_by_run(runs: Sequence[Run]) -> list[np.ndarray]:
    """The counts of each run; empty if a run has no answers."""
    answers = [run.answers for run in runs]
    return [] if None in answers else [one.counts for one in answers]


def check_comparable(systems: dict[str, Sequence[Run]]) -> None:
    """DataError for different sentences, or if runs of one system do not differ in their seed alone."""
    answered = [run for runs in systems.values() for run in runs if run.answers]
    for run in answered:
        if run.answers.gold != answered[0].answers.gold:
            raise DataError(
                f"{run.directory}: other sentences or other gold in {run.split}, "
                f"expected the same as in {answered[0].directory}"
            )
    for system, runs in systems.items():
        files = [run.directory / "resolved.json" for run in runs]
        resolved = {file: read_json(file) for file in files if file.exists()}
        file_of_seed = {}
        for file, values in resolved.items():
            first = next(iter(resolved))
            if different := [part for part in ALIKE if values.get(part) != resolved[first].get(part)]:
                raise DataError(
                    f"{file}: other {different[0]} than {first}, expected {system} to be one system"
                )
            same = file_of_seed.setdefault(values.get("seed", file), file)
            if same != file:
                raise DataError(
                    f"{file}: seed {values['seed']} as {same}, expected {system} to have each once"
                )


def compare(rows: Sequence[Row], systems: dict[str, Sequence[Run]], baseline: str, n_shuffles: int) -> None:
    """Fills in the difference to the baseline, p and the verdict of every row."""
    base = next(row for row in rows if row.system == baseline)
    theirs, tested, ps = counts_by_run(systems[baseline]), [], []
    for row in rows:
        row.verdict = "baseline" if row is base else "not tested"
        if row is not base and row.f1 is not None and base.f1 is not None:
            row.difference = row.f1 - base.f1
        if row is not base and theirs and (ours := counts_by_run(systems[row.system])):
            tested.append(row)
            ps.append(randomisation(ours, theirs, n_shuffles=n_shuffles))
    for row, p in zip(tested, holm(ps), strict=True):
        better_or_worse = "better" if row.difference > 0 else "worse"
        row.p, row.verdict = p, "not significant" if p > LEVEL else better_or_worse
