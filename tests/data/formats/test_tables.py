"""csv: what the csv module and pandas would read, sentences put together, or a refusal that names CSV."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import Reading, guess_format, read
from ner.errors import DataError


@pytest.fixture
def table(tmp_path):
    def reader(content: str, name: str = "x.csv", **options):
        (tmp_path / name).write_bytes(content.encode())
        assert guess_format(tmp_path / name, Reading(**options)) == "csv"
        return read(tmp_path / name, reading=Reading(**options))

    return reader


def rows_of(document):
    return [(s.tokens, [(start, end, label) for start, end, label in s.spans]) for s in document.sentences]


EXPECTED = [(("New", 'a "b", c'), [(0, 2, "LOC")]), (("it",), [])]


@pytest.mark.parametrize(
    "text",
    [
        'Sentence #,Word,POS,Tag\nSentence: 1,New,N,B-LOC\n,"a ""b"", c",N,I-LOC\nSentence: 2,it,P,O\n',
        '\ufeffsent_id;token;ner\r\n7;New;B-LOC\r\n7;"a ""b"", c";I-LOC\r\n8;it;O\r\n',
        ',sentence,words,labels\n0,a,New,B-LOC\n1,a,"a ""b"", c",I-LOC\n2,b,it,O\n',
        'Tag,Word\nB-LOC,New\nI-LOC,"a ""b"", c"\n\nO,it\n',
        'Tag\tWord\nB-LOC\tNew\nI-LOC\t"a ""b"", c"\n\t\nO\tit\n',
        'New,B-LOC\n"a ""b"", c",I-LOC\n,\nit,O\n',
        'group,word,tag\n1,New,B-LOC\n1,"a ""b"", c",I-LOC\n2,it,O\n',
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.txt"])
def test_tables_that_people_have(table, text, name):
    assert rows_of(table(text, name)) == EXPECTED


@pytest.mark.parametrize("columns", [("w", "t"), (3, 2), ("w", -2)])
def test_columns_by_name_or_number(table, columns):
    assert rows_of(table("sent,t,w\n1,B-X,a\n1,O,b\n", columns=columns)) == [(("a", "b"), [(0, 1, "X")])]


def test_a_quotation_mark_may_be_a_token_between_tabs(table):
    document = table('token\ttag\n"\tO\nMia\tB-X\n"\tO\n', "x.tsv")
    assert rows_of(document) == [(('"', "Mia", '"'), [(1, 2, "X")])]


@given(st.lists(st.text(st.sampled_from('a,"; 北|'), min_size=1).filter(str.strip), min_size=1))
@settings(deadline=None, max_examples=50)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, tokens):
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("token", "tag"), *((token, "O") for token in tokens)])
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert read(path).sentences[0].tokens == tuple(tokens)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "label,review\n1,good food\n",
            "x.csv:1: CSV with the columns label, review, expected one of tokens",
        ),
        ("word,tag\na,O\nb,O,x\n", "x.csv:3: CSV with 3 fields, expected 2"),
        ('word,tag\n"a\nb",O\n', "x.csv:2: CSV whose quoted field ends in line 3, expected one row a line"),
        ('word,tag\n"a"b,O\n', "x.csv:2: not CSV, "),
        ("word,tag\n", "x.csv:1: a header without rows"),
        ("word,tag\na,O\n,B-X\n", "x.csv:3: empty token, expected one in column 1"),
        ("word,tag\na,O\nb,PER\n", "x.csv:3: tag 'PER', expected O or B-"),
        ('text,label\nMia,"[{""start"": 0}]"\n', "x.csv:2: CSV with an array or an object"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_as_such(table, text, problem):
    with pytest.raises(DataError, match=problem):
        table(text)


def test_an_unknown_name_lists_the_header(table):
    with pytest.raises(DataError, match=r"x.csv:1: no column 'Tags', expected one of Word, Tag"):
        table("Word,Tag\na,O\n", columns=("Word", "Tags"))


def test_the_header_of_a_joined_file_is_skipped(table):
    document = table("\ufeffword,tag\nMia,B-PER\nleft,O\n\ufeffword,tag\nOslo,B-LOC\n")
    assert rows_of(document) == [(("Mia", "left"), [(0, 1, "PER")]), (("Oslo",), [(0, 1, "LOC")])]
    assert "1 repeated header skipped: line 4" in document.notes
