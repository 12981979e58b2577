"""The corpus that the checks read, and the findings that they return."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ner.data.build import Dataset
from ner.data.folder import read_split, read_unit
from ner.data.formats import Document
from ner.data.sentence import SPLITS, Sentence
from ner.data.wording import excerpt
from ner.tags import Span


class Finding(NamedTuple):
    """`what` describes it to a user, `values` to a program; `places` lists every place as `file:line`."""

    what: str
    places: list[str]
    values: dict


@dataclass(frozen=True)
class Corpus:
    """The splits of a data set."""

    splits: Mapping[str, Sequence[Sentence]]
    places: Mapping[str, Sequence[str]]
    "`file:line` where each sentence of a split starts"
    illegal: Sequence[tuple[str, str]]
    "(place, description) of each illegal tag"
    unit: str
    token_per_line: Collection[str] = ()
    "names of the splits whose files have one token a line"

    @property
    def gap(self) -> str:
        """The separator between two tokens of a text."""
        return "" if self.unit == "char" else " "

    @property
    def annotated(self) -> list[str]:
        """Names of the annotated splits."""
        return [name for name, sentences in self.splits.items() if sentences[0].spans is not None]

    def with_places(self) -> Iterator[tuple[str, Sentence]]:
        """(place, sentence), split by split."""
        for name, sentences in self.splits.items():
            yield from zip(self.places[name], sentences, strict=True)

    def entities(self) -> Iterator[tuple[str, Sentence, Span]]:
        """(place, sentence, entity), split by split.

        The place is the line of the entity's first token if the split has one token a line, else the line of
        the sentence.
        """
        for name in self.annotated:
            for place, sentence in zip(self.places[name], self.splits[name], strict=True):
                file, _, line = place.rpartition(":")
                for span in sentence.spans:
                    moved = f"{file}:{int(line) + span.start}" if name in self.token_per_line else place
                    yield moved, sentence, span

    @cached_property
    def distinct_tokens(self) -> set[str]:
        return set(chain.from_iterable(sentence.tokens for _, sentence in self.with_places()))

    def text(self, tokens: Sequence[str]) -> str:
        """The tokens as an excerpt on one line."""
        return excerpt(self.gap.join(tokens))


def corpus_of_build(documents: Mapping[str, Document], dataset: Dataset) -> Corpus:
    """The sentences of a build, with their places in the source files.

    If several files have the same name, the name of the split comes first: `test x.txt:3`.
    """
    n_files = Counter(document.path.name for document in documents.values())
    prefix = {name: f"{name} " if n_files[doc.path.name] > 1 else "" for name, doc in documents.items()}
    illegal, places = [], {}
    for name, document in documents.items():
        illegal += [(f"{prefix[name]}{document.path.name}:{line}", tag) for line, tag in document.illegal]
    for name, (source, rows) in dataset.parts.items():
        places[name] = [f"{prefix[source]}{documents[source].place(row)}" for row in rows]
    sources = {name: documents[part.source] for name, part in dataset.parts.items()}
    token_per_line = {name for name, doc in sources.items() if doc.unit is None and not doc.one_line}
    return Corpus(dataset.splits, places, illegal, dataset.facts["unit"], token_per_line)


def corpus_of_folder(data_dir: str | Path) -> Corpus:
    """The sentences of a built set; DataError if it has no train split or a split cannot be read."""
    names = [name for name in SPLITS if name == "train" or (Path(data_dir) / name).is_dir()]
    read = {name: read_split(data_dir, name) for name in names}
    splits = {name: split.sentences for name, split in read.items()}
    places, illegal = {}, []
    for name, split in read.items():
        places[name] = [f"{name}/sentences.txt:{i}" for i in range(1, len(split.sentences) + 1)]
        illegal += [(f"{name}/tags.txt:{i}", f"tag {t + 1} of the line") for i, t in split.illegal]
    return Corpus(splits, places, illegal, read_unit(data_dir, splits["train"]))
