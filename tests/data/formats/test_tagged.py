"""Tags of every scheme and spelling, read as the spans of sentences."""

import pytest

from ner.errors import DataError
from ner.tags import Span


def tokens_of(document) -> list[tuple[str, ...]]:
    """The tokens of every sentence."""
    return [sentence.tokens for sentence in document.sentences]


def test_illegal_gold_is_read_as_a_start_and_listed_with_its_line(read):
    document = read("\na\tO\nb\tI-LOC\nc\tI-PER\nd\tB-LOC\n\ne\tI-LOC\nf\tB-PER\ng\tB-PER\n")
    assert document.sentences[0].spans == (Span(1, 2, "LOC"), Span(2, 3, "PER"), Span(3, 4, "LOC"))
    assert document.illegal == [(3, "I-LOC"), (4, "I-PER"), (7, "I-LOC")]
    assert document.scheme == "BIO"


def test_iob1_is_known_by_most_of_its_entities(read):
    text = "a I-LOC\nb I-LOC\nc B-LOC\nd O\ne I-PER\n"
    spans = (Span(0, 2, "LOC"), Span(2, 3, "LOC"), Span(4, 5, "PER"))
    stated = read(text, scheme="IOB1")
    assert (stated.sentences[0].spans, stated.illegal, stated.notes) == (spans, [], [])
    guessed = read(text)
    assert (guessed.sentences[0].spans, guessed.illegal, guessed.scheme) == (spans, [], "IOB1")
    assert guessed.notes == ["tags are read as IOB1"]
    few = read(text + "f O\ng B-PER\nh O\ni B-PER\n")
    assert (few.scheme, few.illegal, few.notes) == ("BIO", [(1, "I-LOC"), (5, "I-PER")], [])


def test_iob1_with_a_slip_is_read_as_iob1_and_the_slip_listed(read):
    document = read("a I-X\nb O\nc I-Y\nd O\ne B-X\nf O\n")
    assert (document.scheme, document.illegal) == ("IOB1", [(5, "B-X")])


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a\tB-X\nb\tX\n", 2, "tag 'X', expected O or B-"),
        ("a\tB-X\nb\tO\nc\tI\n", 3, "tags 'B-X' and 'I', expected all with a label or none"),
        ("a\tO\nb\tPER\n", 2, "tag 'PER', .*; --scheme IO reads labels without prefix"),
    ],
)
def test_a_file_spells_its_tags_in_one_way(read, text, line, problem):
    with pytest.raises(DataError, match=f":{line}: {problem}"):
        read(text)


def test_labels_without_prefix_are_read_if_stated(read):
    document = read("a\tPER\nb\tPER\nc\tO\nd\tE-mail\n", scheme="IO")
    assert document.sentences[0].spans == (Span(0, 2, "PER"), Span(3, 4, "E-mail"))
    assert document.illegal == []


@pytest.mark.parametrize(
    ("tags", "scheme"), [("B-X E-X O S-X", "BIOES"), ("B-X M-X E-X S-X", "BMES"), ("B-X I-X E-X O", "BIOES")]
)
def test_other_schemes_are_guessed_and_noted(read, tags, scheme):
    document = read("".join(f"字\t{tag}\n" for tag in tags.split()))
    assert (document.scheme, document.illegal) == (scheme, [])
    assert document.notes == [f"tags are read as {scheme}"]


def test_a_stated_scheme_refuses_tags_of_another(read):
    with pytest.raises(DataError, match=r"x.txt:2: tag 'E-X', expected a tag of scheme BIO"):
        read("a\tB-X\nb\tE-X\n", scheme="BIO")


def test_several_columns_of_tags_nest(read):
    text = "# a comment\n1\tFC\tB-ORG\tO\n2\tBonn\tI-ORG\tB-LOC\n\n1\tOslo\tB-LOC\tB-LOC\n"
    document = read(text, "conll", columns=(2, 3, 4), overlaps="keep")
    assert document.sentences[0].spans == (Span(0, 2, "ORG"), Span(1, 2, "LOC"))
    assert document.sentences[1].spans == (Span(0, 1, "LOC"),)
    longest = read(text, "conll", columns=(2, 3, 4), overlaps="keep_longest")
    assert longest.sentences[0].spans == (Span(0, 2, "ORG"),)
    assert longest.left_out == ("x.txt:3: LOC 'Bonn' overlaps ORG 'FC Bonn'",)
    with pytest.raises(DataError, match=r"x.txt:3: LOC 'Bonn' overlaps ORG 'FC Bonn'; 1 entity nested"):
        read(text, "conll", columns=(2, 3, 4))


def test_one_class_gets_the_stated_name(read):
    assert read("a\tB\nb\tI\nc\tO\n").sentences[0].spans == (Span(0, 2, "ENTITY"),)
    assert read("a\tB\nb\tI\nc\tO\n", label_names=("DRUG",)).sentences[0].spans == (Span(0, 2, "DRUG"),)
    with pytest.raises(DataError, match=r"x.txt:1: tag 'B-X', --label_names expects tags without label"):
        read("a\tB-X\n", label_names=("DRUG",))


def test_several_tags_of_a_token_are_refused_or_the_first_is_taken(read):
    text = "a\tO\nb\tB-p,B-q\nc\tI-p|I-q\n"
    with pytest.raises(
        DataError, match=r"x.txt:2: 2 tags in 'B-p,B-q', expected one tag a token; --first_tag"
    ):
        read(text)
    document = read(text, first_tag=True)
    assert document.sentences[0].spans == (Span(1, 3, "p"),)
    assert document.notes == ["2 tokens with several tags, the first taken: lines 2, 3"]
    assert read("a\tB-p/q\n").sentences[0].spans == (Span(0, 1, "p/q"),)


def test_an_index_after_each_character_is_named_and_removed(read):
    text = "北0\tB-LOC\n京1\tI-LOC\n２2\tO\n"
    assert read(text).notes[0].startswith("3 of 3 tokens are a character and a number, such as '北0'")
    stripped = read(text, strip_index=True)
    assert tokens_of(stripped) == [("北", "京", "２")]
    assert stripped.notes == [
        "3 of 3 tokens are a character and a number; the numbers are removed (--strip_index)"
    ]
    words = read("Mia\tO\nT2\tO\n", strip_index=True)
    assert tokens_of(words) == [("Mia", "T2")]
    assert "nothing removed" in words.notes[0]


def test_several_tags_between_spaces_are_no_label(read):
    with pytest.raises(DataError, match=r"x.txt:1: 2 tags in 'B-p B-q', expected one tag a token"):
        read("a\tB-p B-q\nb\tO\n")
    assert read("a\tB-blood type O\n").sentences[0].spans == (Span(0, 1, "blood type O"),)


def test_an_index_behind_a_mark_is_removed(read):
    assert tokens_of(read("北_0\tB-LOC\n京_1\tI-LOC\n很#12\tO\n", strip_index=True)) == [("北", "京", "很")]
