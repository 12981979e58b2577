"""Reads the results of experiments back from their directories and summarises several of them."""

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ner.errors import DataError
from ner.files import read_json, read_text
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

    DataError names the first line that is not the line of an epoch.
    """
    path, resolved = directory / "metrics.jsonl", directory / "resolved.json"
    # runs whose resolved.json names no headline were ranked by F1
    headline = read_json(resolved).get("headline", "val_f1") if resolved.exists() else "val_f1"
    keys = {"epoch": int, headline: float, "seconds": float}
    epochs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            values = json.loads(line)
            wrong = [key for key, kind in keys.items() if not isinstance(values[key], kind | int)]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not the line of an epoch, {error!r}") from None
        if wrong:
            raise DataError(f"{path}:{number}: {wrong[0]}: got {values[wrong[0]]!r}, expected a number")
        epochs.append(values | {"headline": values[headline]})
    if not epochs:
        raise DataError(f"{path}: empty, expected a line an epoch")
    return epochs


def best_headline(epochs: Sequence[dict]) -> float:
    """The highest validation score, a fraction: the score of the epoch whose model is `best`."""
    return max(epoch["headline"] for epoch in epochs)


@dataclass(frozen=True)
class Answers:
    """A model's answers on a split, as counts."""

    counts: np.ndarray
    "(S, 3) int64: correct, predicted and gold entities of each sentence"
    gold: str
    "hash of the sentences and their gold; runs are comparable only if it is the same"


def read_answers(path: Path) -> Answers:
    """Reads `predictions_<split>.jsonl`; DataError names the first wrong line."""
    digest, counts = hashlib.sha256(), []
    for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), start=1):
        try:
            values = json.loads(line)
            truth, guess = ([Span(*span) for span in values[name]] for name in ("gold", "predicted"))
            counts.append(count([truth], [guess]))
            digest.update(json.dumps([values["tokens"], sorted(truth)]).encode())
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not the line of a sentence, {error!r}") from None
    return Answers(np.concatenate(counts), digest.hexdigest())


@dataclass(frozen=True)
class Run:
    """An experiment directory.  A property is None if its file is missing."""

    directory: Path
    split: str

    @cached_property
    def epochs(self) -> list[dict] | None:
        return read_epochs(self.directory) if (self.directory / "metrics.jsonl").exists() else None

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
        path = self.directory / f"predictions_{self.split}.jsonl"
        if self.scores is None or not path.exists():
            return None
        answers = read_answers(path)
        counted = precision_recall_f1(answers.counts.sum(axis=0))
        if not np.allclose(counted, self.scores, rtol=0, atol=1e-9):
            scored = f"{self.scores[2]:.4f} as in metrics_{self.split}.json"
            raise DataError(f"{path}: F1 is {counted[2]:.4f}, expected {scored}")
        return answers

    @property
    def missing_file(self) -> str:
        """Name of the first missing file; "" if none is missing."""
        results = {
            "metrics.jsonl": self.epochs,
            f"metrics_{self.split}.json": self.scores,
            f"predictions_{self.split}.jsonl": self.answers,
        }
        return next((name for name, value in results.items() if value is None), "")


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
        row.val_f1, row.val_f1_deviation = _spread([best_headline(run.epochs) for run in runs])
        seconds = [[epoch["seconds"] for epoch in run.epochs] for run in runs]
        row.seconds_an_epoch = statistics.mean(map(statistics.mean, seconds))
        row.minutes = statistics.mean(map(sum, seconds)) / 60
        # a resumed run starts to measure its peak again
        peaks = [epoch.get("peak_memory_mb") for run in runs for epoch in run.epochs]
        row.peak_memory_mb = None if None in peaks else max(peaks)
    if all(run.scores for run in runs):
        precisions, recalls, f1s = zip(*(run.scores for run in runs), strict=True)
        row.precision, row.recall = statistics.mean(precisions), statistics.mean(recalls)
        row.f1, row.f1_deviation = _spread(f1s)
    if counts := counts_by_run(runs):
        row.f1_low, row.f1_high = bootstrap(counts, n_resamples=n_resamples)
    return row


def counts_by_run(runs: Sequence[Run]) -> list[np.ndarray]:
    """The counts of each run; empty if a run has no answers."""
    answers = [run.answers for run in runs]
    return [] if None in answers else [one.counts for one in answers]


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    mean, deviation = mean_and_deviation(values)
    return mean, deviation if len(values) > 1 else None


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
        _check_one_system(system, runs)


def _check_one_system(system: str, runs: Sequence[Run]) -> None:
    files = [run.directory / "resolved.json" for run in runs]
    resolved = [(file, read_json(file)) for file in files if file.exists()]
    file_of_seed = {}
    for file, values in resolved:
        first_file, first_values = resolved[0]
        if different := [part for part in ALIKE if values.get(part) != first_values.get(part)]:
            raise DataError(
                f"{file}: other {different[0]} than {first_file}, expected {system} to be one system"
            )
        same = file_of_seed.setdefault(values.get("seed", file), file)
        if same != file:
            raise DataError(f"{file}: seed {values['seed']} as {same}, expected {system} to have each once")


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
