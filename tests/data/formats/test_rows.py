"""Lines of columns as tokens and tags, and the lines that hold no token."""

import pytest

from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


def tokens_of(document) -> list[tuple[str, ...]]:
    """The tokens of every sentence."""
    return [sentence.tokens for sentence in document.sentences]


def test_only_spaces_and_tabs_separate_columns(read):
    assert tokens_of(read("a\xa0b  O\n\u3000 O\n")) == [("a\xa0b", "\u3000")]


def test_a_comment_has_not_the_columns_of_the_others(read):
    document = read("# id 7\tlang=en\nMia _ _ B-PER\n# _ _ O\n#tag _ _ O\n\n# a b c\nit _ _ O\n", "conll")
    assert tokens_of(document) == [("Mia", "#", "#tag"), ("it",)]
    assert document.notes == ["2 comment lines skipped"]
    assert tokens_of(read("#\tO\n# two words\nno\tO\n")) == [("#",), ("no",)]


def test_a_file_of_tokens_that_begin_with_a_hash_is_read(read):
    assert tokens_of(read("#a\tB-X\n#\tO\n")) == [("#a", "#")]


def test_rows_of_several_words_and_of_none_are_skipped(read):
    text = "1-2\tzum\t_\n1\tzu\tO\n2\tdem\tO\n2.1\tx\t_\n3\tRhein\tB-LOC\n"
    document = read(text, "conll", columns=(2, 3))
    assert [token for tokens in tokens_of(document) for token in tokens] == ["zu", "dem", "Rhein"]
    assert document.notes == ["2 lines with an id such as 1-2 or 8.1 skipped"]


def test_a_space_is_a_token_between_spaces(read):
    document = read("a B-X\n  I-X\nb I-X\n")
    assert document.sentences == [Sentence.with_spans(("a", " ", "b"), (Span(0, 3, "X"),))]
    assert document.notes == ["1 line that begins with spaces read as a token of white space: line 2"]
    with pytest.raises(DataError, match=r"x.txt:2: 2 columns expected, got 1"):
        read("a B-X\n I-X\n")
