"""What every kind of gold provides.  A new kind is one file and a line in `ner.annotations.ANNOTATIONS`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

Tokens = tuple[str, ...]
Offsets = Sequence[tuple[int, int]]


class Read(NamedTuple):
    """Gold as read from a file of a split, a value for each sentence."""

    values: list
    illegal: list[tuple[int, int]]
    "(line, token) of gold that is illegal where it stands; lines count from 1, tokens from 0"


class Scored(NamedTuple):
    """A sentence of a scored split: its tokens, its gold and what was predicted."""

    tokens: Tokens
    gold: Any
    predicted: Any


class Scores(Protocol):
    """Scores of a set of sentences."""

    headline: float
    "the figure that early stopping, search and results go by, in [0, 1]; larger is better"
    n_gold: int
    "gold items that were scored"

    def per_epoch(self) -> dict[str, float]:
        """The figures of a line of metrics.jsonl; each key gets the prefix `val_`."""

    def summary(self) -> dict:
        """The figures of metrics_<split>.json; fractions, not percent."""

    def table(self) -> list[tuple[str, ...]]:
        """Rows for people, a heading first; percent."""

    def describe(self) -> str:
        """One line for people; percent."""


class Annotation(ABC):
    """One kind of gold: how it is read, written, batched, scored and put out.

    A value is the gold of one sentence.  An inventory is what a model must know about all values, such as
    the labels.
    """

    name: ClassVar[str]
    "key in `Sentence.gold`, in `Batch.gold` and in answers"
    items: ClassVar[str]
    "what `count` counts, in the plural, as messages name it"
    headline: ClassVar[str]
    "key in `Scores.per_epoch` of the figure that early stopping, search and results go by"
    files: ClassVar[tuple[str, ...]]
    "names of the files in a split's folder that hold it; a split has one of them"

    @abstractmethod
    def read(self, path: Path, tokens: Sequence[Tokens]) -> Read:
        """Reads a file of a split, a line a sentence.  DataError `file:line: ...` if a line is wrong."""

    @abstractmethod
    def choose_file(self, values: Sequence[Any]) -> str:
        """The name in `files` that can hold all the values."""

    @abstractmethod
    def write(self, path: Path, tokens: Sequence[Tokens], values: Sequence[Any]) -> None:
        """Writes the file that `read` reads.  ValueError if a file of this name cannot hold the values."""

    @abstractmethod
    def read_inventory(self, data_dir: Path, values: Sequence[Any], *, scheme: str) -> Any:
        """The inventory of a built data set: `values` are train's gold, `scheme` the model's tag scheme."""

    @abstractmethod
    def to_config(self, inventory: Any, facts: Sequence[str]) -> dict:
        """The keys of a model's config.json that hold an inventory; those of the key `ner` are ours alone.

        `facts` are the fields of the inventory that the head asks for (`Head.facts`).
        """

    @abstractmethod
    def from_config(self, config: Mapping, *, where: str | Path) -> Any:
        """The inventory that a config.json holds.  DataError, beginning with `where`, if it holds none."""

    @abstractmethod
    def labels(self, inventory: Any) -> tuple[str, ...]:
        """The labels that a model can predict."""

    @abstractmethod
    def labels_of(self, values: Sequence[Any]) -> set[str]:
        """The labels that occur in gold."""

    @abstractmethod
    def collate(self, values: Sequence[Any], inventory: Any) -> np.ndarray:
        """The values of a batch as one padded array, sentence first."""

    @abstractmethod
    def count(self, value: Any) -> int:
        """Number of gold items in a value, as `Scores.n_gold` counts them."""

    @abstractmethod
    def score(self, gold: Sequence[Any], predicted: Sequence[Any], n_tokens: Sequence[int]) -> Scores:
        """Scores predicted values against gold; `n_tokens` are the lengths of the sentences."""

    @abstractmethod
    def diagnose(self, gold: Sequence[Any], predicted: Sequence[Any], hint: str) -> str:
        """A line that says why the headline may be 0; `hint` is what training may have done wrong."""

    @abstractmethod
    def truncate(self, value: Any, kept: np.ndarray) -> Any:
        """The value of a truncated sentence; `kept` (T,) int64 are the numbers of its remaining tokens."""

    @abstractmethod
    def restore(self, value: Any, kept: np.ndarray) -> Any:
        """A value predicted for a truncated sentence, over the tokens of the whole sentence."""

    @abstractmethod
    def to_json(self, text: str, offsets: Offsets, value: Any) -> dict:
        """The keys of a line of predict.py.  `offsets` are start and end of each token in `text`."""

    @abstractmethod
    def write_predictions(self, out_dir: Path, split: str, scored: Sequence[Scored]) -> list[str]:
        """Writes the predictions of a scored split; returns the names of the files."""


Answer = dict[str, Any]
