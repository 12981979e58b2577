"""A tagger together with what it needs to tag text."""

from dataclasses import dataclass

from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows
from ner.model.tagger import Tagger
from ner.tags import TagSet


@dataclass(frozen=True)
class Model:
    """A tagger and the facts that it cannot be used without."""

    tagger: Tagger
    tokenizer: WordPiece
    unit: str
    "char or word: how raw text is cut into tokens"
    max_len: int
    "pieces a window, special pieces included"
    report: tuple[str, ...] = ()
    "lines for the log about how it was opened"
    long_text: str = "windows"
    "what happens to pieces beyond a window, a name in `LONG_TEXT`"

    @property
    def windows(self) -> Windows:
        return Windows(self.max_len, long_text=self.long_text)

    @property
    def tag_set(self) -> TagSet:
        return self.tagger.head.tag_set
