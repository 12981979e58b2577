"""What is audited, and what a check returns."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ner.data.build import Dataset
from ner.data.folder import read_split, read_unit
from ner.data.formats import Document
from ner.data.sentence import SPLITS, Sentence
from ner.tags import Span

N_SHOWN = 60  # characters of a text in `Finding.what`


class Finding(NamedTuple):
    """`what` is for people; `values` hold the same for programs; `places` are all of them."""

    what: str
    places: list[str]
    values: dict


@dataclass(frozen=True)
class Corpus:
    """What is audited: `places[split][i]` is where sentence i starts; `illegal` are (place, which tag).

    The files of the splits in `token_a_line` have every token on a line of its own.
    """

    splits: Mapping[str, Sequence[Sentence]]
    places: Mapping[str, Sequence[str]]
    illegal: Sequence[tuple[str, str]]
    unit: str
    token_a_line: Collection[str] = ()

    @property
    def gap(self) -> str:
        return "" if self.unit == "char" else " "

    @property
    def annotated(self) -> list[str]:
        return [name for name, sentences in self.splits.items() if sentences[0].spans is not None]

    def with_places(self) -> Iterator[tuple[str, Sentence]]:
        """(place, sentence), split by split."""
        for name, sentences in self.splits.items():
            yield from zip(self.places[name], sentences, strict=True)

    def entities(self) -> Iterator[tuple[str, Sentence, Span]]:
        """(place, sentence, entity), split by split; the place is that of its first token, where known."""
        for name in self.annotated:
            for place, sentence in zip(self.places[name], self.splits[name], strict=True):
                for span in sentence.spans:
                    n = span.start if name in self.token_a_line else 0
                    yield _later(place, n), sentence, span

    @cached_property
    def distinct_tokens(self) -> set[str]:
        tokens: set[str] = set()
        for sentences in self.splits.values():
            for sentence in sentences:
                tokens.update(sentence.tokens)
        return tokens

    def text(self, tokens: Sequence[str]) -> str:
        """The tokens as people may read them in a line."""
        return shown(self.gap.join(tokens))


def corpus_of_build(documents: Mapping[str, Document], dataset: Dataset) -> Corpus:
    """The sentences of a build, at their places in the files they were read from.

    Files of one name are told apart by what they were given as: `test x.txt:3`.
    """
    n_times = Counter(document.path.name for document in documents.values())
    given_as = {
        name: f"{name} " if n_times[document.path.name] > 1 else "" for name, document in documents.items()
    }
    illegal = [
        (f"{given_as[name]}{document.path.name}:{line}", tag)
        for name, document in documents.items()
        for line, tag in document.illegal
    ]
    # what is split off train stands in the file of train
    sources = {name: name if name in documents else "train" for name in dataset.splits}
    places = {
        name: [f"{given_as[sources[name]]}{place}" for place in where]
        for name, where in dataset.places.items()
    }
    token_a_line = {name for name, source in sources.items() if documents[source].unit is None}
    return Corpus(dataset.splits, places, illegal, dataset.facts["unit"], token_a_line)


def corpus_of_folder(data_dir: str | Path) -> Corpus:
    """A built set as it stands; DataError where it has no train split or a split cannot be read."""
    names = [name for name in SPLITS if name == "train" or (Path(data_dir) / name).is_dir()]
    read = {name: read_split(data_dir, name) for name in names}
    splits = {name: split.sentences for name, split in read.items()}
    places = {
        name: [f"{name}/sentences.txt:{line}" for line in range(1, len(sentences) + 1)]
        for name, sentences in splits.items()
    }
    illegal = [
        (f"{name}/tags.txt:{line}", f"tag {position + 1} of the line")
        for name, split in read.items()
        for line, position in split.illegal
    ]
    return Corpus(splits, places, illegal, read_unit(data_dir, splits["train"]))


def _later(place: str, n_lines: int) -> str:
    file, _, line = place.rpartition(":")
    return f"{file}:{int(line) + n_lines}" if n_lines else place


def shown(text: str) -> str:
    r"""At most `N_SHOWN` characters of a text, those that show nothing as \uXXXX."""
    cut = text if len(text) <= N_SHOWN else text[: N_SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
