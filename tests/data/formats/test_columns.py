"""Readers of columns: every oddity of a file gets a note, or an error with its line."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import FORMATS, Reading
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


def tokens_of(document) -> list[tuple[str, ...]]:
    return [sentence.tokens for sentence in document.sentences]


@pytest.mark.parametrize("gap", ["\t", " ", "   "])
def test_two_columns(read, gap):
    text = "北\tB-LOC\n京\tI-LOC\n\n我\tO\n".replace("\t", gap)
    document = read(text)
    assert document.sentences == [
        Sentence.with_spans(("北", "京"), (Span(0, 2, "LOC"),)),
        Sentence.with_spans(("我",), ()),
    ]
    assert document.first_lines == [1, 4]
    assert (document.illegal, document.notes, document.scheme) == ([], [], "BIO")
    assert document.sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", ["bio", "conll"])
def test_oddities_are_read_and_noted(read, name):
    data = "\ufeff北\tO\r\n \u3000\t\r\n京\tO\n\r\n人\tO".encode()
    document = read(data, name)
    assert tokens_of(document) == [("北",), ("京",), ("人",)]
    assert document.first_lines == [1, 3, 5]
    assert document.notes == [
        "a byte order mark was skipped",
        "no newline at the end",
        "CRLF line ends in 3 of 5 lines",
    ]
    assert document.sha256 == hashlib.sha256(data).hexdigest()


def test_a_token_may_be_white_space_before_a_tab(read):
    document = read(" \tO\n\u3000\tO\n\u2028\tO\n\x85 \x0b\tO\n\\\tO\n\u200b\tO \n")
    assert tokens_of(document) == [(" ", "\u3000", "\u2028", "\x85 \x0b", "\\", "\u200b")]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), min_size=1), min_size=1
    )
)
@settings(deadline=None, max_examples=100)
def test_any_token_without_tab_and_newline_is_read_exactly(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("bio") / "x.txt"
    path.write_bytes("".join(f"{token}\tO\n" for token in ["first", *tokens]).encode())
    assert tokens_of(FORMATS["bio"].reader(path)) == [("first", *tokens)]


def test_one_column_is_not_annotated(read):
    document = read("北\n京\n\n\n人\n")
    assert document.sentences == [Sentence.with_spans(("北", "京"), None), Sentence.with_spans(("人",), None)]
    assert document.first_lines == [1, 5]
    assert document.scheme is None
    assert not document.annotated


def test_conll_takes_the_first_and_the_last_column(read):
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n-DOCSTART- -X-\nPeter NNP I-NP B-PER\n"
    )
    document = read(text, "conll")
    assert document.sentences == [
        Sentence.with_spans(("EU", "rejects"), (Span(0, 1, "ORG"),)),
        Sentence.with_spans(("Peter",), (Span(0, 1, "PER"),)),
    ]
    assert document.first_lines == [3, 6]
    assert document.notes == ["2 -DOCSTART- lines skipped"]


def test_a_b_alone_is_an_entity_under_bie(read):
    text = "a B-X\nb E-X\nc B-X\nd B-X\ne I-X\nf E-X\ng O\n"
    spans = (Span(0, 2, "X"), Span(2, 3, "X"), Span(3, 6, "X"))
    stated, guessed = read(text, scheme="BIE"), read(text)
    assert (stated.sentences[0].spans, stated.illegal, stated.notes) == (spans, [], [])
    assert (guessed.sentences[0].spans, guessed.scheme) == (spans, "BIOES")
    assert "no S- among the tags: --scheme BIE makes a B- alone legal" in guessed.notes


@pytest.mark.parametrize("columns", [(2, 3), (2, -2), (-3, -2), (-3, 3)])
def test_columns_are_chosen_from_either_end(read, columns):
    text = "-DOCSTART-\n\n1 a B-X _\n2 b O _\n"
    document = read(text, "conll", columns=columns)
    assert document.sentences == [Sentence.with_spans(("a", "b"), (Span(0, 1, "X"),))]


def test_another_encoding_reads_the_same(read):
    text = "北\tB-LOC\r\n京\tI-LOC\r\n\n𪛖\tO\n"
    expected = read(text)
    for encoding in ("gb18030", "utf-16", "utf-8-sig"):
        document = read(text.encode(encoding), encoding=encoding)
        assert document.sentences == expected.sentences
        assert document.sha256 == hashlib.sha256(text.encode(encoding)).hexdigest()


def test_utf8_read_in_another_encoding_is_noted(read):
    note = "read as gb18030, though the bytes are UTF-8 too"
    assert read("北京", encoding="gb18030").notes == [note, "no newline at the end"]
    assert read("ab\n", encoding="gb18030").notes == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bio", "", "x.txt: empty, expected annotated text"),
        ("bio", "\n \n", "x.txt: no sentence, expected one token a line"),
        ("bio", "a\tO\nb\n", "x.txt:2: 2 columns expected, got 1"),
        ("bio", "a\nb\n\nc\tO\n", "x.txt:1: 2 columns expected, got 1; line 4 has 2"),
        ("bio", "a\tO\n\nb\tO\tO\n", "x.txt:3: 2 columns expected, got 3"),
        ("bio", "a\nb O O\n", "x.txt:1: 2 columns expected, got 1"),
        ("bio", "a b c O\n" * 2, "x.txt:1: 2 columns expected, got 4 in every row; --format conll reads"),
        ("bio", "a\tO\rb\tO\r", "x.txt:1: 2 columns expected, got 3; the line holds a CR"),
        ("conll", "a\tB-X\rb\tI-X\r", "x.txt:1: the line holds a CR, expected lines that end at LF or CR LF"),
        ("conll", "a B-X\rb I-X\r", "x.txt:1: the line holds a CR, expected lines that end at LF or CR LF"),
        ("bio", "a\tO\n\tO\n", "x.txt:2: empty token, expected a token before the TAB"),
        ("bio", "a\tO\nb\tB_PER\n", "x.txt:2: tag 'B_PER', expected O or B-"),
        ("bio", "a\tO\nb\t\n", "x.txt:2: tag '', expected O or B-"),
        ("bio", "a\tO\nb\tB-a\rb\n", "x.txt:2: tag 'B-a\\rb', expected a tag without CR"),
        ("bio", "a\tB-X\nb\tI-X\nc\tM-X\n", "x.txt:3: tag prefixes B, I, M, expected the prefixes of BIO"),
        (
            "bio",
            b"a\tO\n\xb1\xb1\tO\n",
            "x.txt:2: not utf-8, got bytes b1 b1 09 4f; --encoding gb18030 may be right",
        ),
        ("conll", "", "x.txt: empty"),
        ("conll", "-DOCSTART- -X- O O\n\n", "x.txt: no sentence"),
        ("conll", "-DOCSTART-\n\na\n", "x.txt:3: 2 or more columns expected, got 1"),
        ("conll", "a b c O\nd O\n", "x.txt:2: 4 columns expected, got 2"),
    ],
)
def test_an_error_names_the_file_and_the_line(read, name, content, message):
    with pytest.raises(DataError) as error:
        read(content, name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "n_entities", "illegal"),
    [
        ("eng.train", 23499, [(152428, "B-MISC"), (175436, "B-MISC")]),  # after O, as published
        ("eng.testa", 5942, []),
        ("eng.testb", 5648, []),
    ],
)
def test_conll2003(ner_data, name, n_entities, illegal):
    document = FORMATS["conll"].reader(ner_data / "conll2003" / name, Reading(scheme="IOB1"))
    assert sum(len(sentence.spans) for sentence in document.sentences) == n_entities
    assert document.illegal == illegal


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 a O\n2 b B-X\n\n1 c O\n", "x.txt:1: column 1 counts the rows, expected tokens; --columns"),
        ("0 a O\n1-2 bc O\n1 b O\n2 c O\n", "x.txt:1: column 1 counts the rows"),
        ("doc a O\ndoc b B-X\n", "x.txt:1: column 1 is the same in all rows of a sentence"),
        ("a\tB-X\t\nb\tO\t\n", "x.txt:1: column 3 is empty in every row, expected tags"),
        ("a\tB-X\t_\nb\tO\t_\n", "x.txt:1: column 3 is '_' in every row, expected tags"),
        ("\tB-X\tO\n", "x.txt:1: empty token"),
    ],
)
def test_a_column_that_is_not_what_it_should_be_is_refused(read, text, problem):
    with pytest.raises(DataError, match=problem):
        read(text, "conll")


def test_rows_whose_ids_all_have_a_hyphen_are_tokens(read):
    text = "1-1\t0-3\tMia\tB-PER\n1-2\t4-8\tleft\tO\n\n2-1\t9-13\tOslo\tB-LOC\n"
    document = read(text, "conll", columns=(3, 4))
    assert tokens_of(document) == [("Mia", "left"), ("Oslo",)]
    assert document.notes == []
