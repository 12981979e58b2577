"""Conversion between all formats: a round trip changes nothing; what cannot be converted is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import WRITABLE, Document, Reading, Texts, load, read, to_document, to_texts
from ner.data.formats.document import AnnotatedText, Mark
from ner.data.formats.texts import check_marks, remove_overlaps
from ner.data.sentence import Sentence
from ner.tags import Span
from tools import convert

# letters, combining marks, emoji with joiners, full width, CJK beyond the BMP, white space of all kinds
ALPHABET = "aB1 中国．Ａé\u0301👩\u200d🚀\ufe0f\U0002a6d6\r\n\t\u3000\xa0\u2028\x85\ufeff\\"


@st.composite
def texts(draw, alphabet: str = ALPHABET, *, nested: bool = True, min_size: int = 0) -> Texts:
    """A file of annotated texts with valid marks."""
    rows = []
    for line, text in enumerate(
        draw(st.lists(st.text(alphabet, min_size=min_size), min_size=1, max_size=4)), 1
    ):
        cuts = st.tuples(
            st.integers(0, len(text)), st.integers(0, len(text)), st.sampled_from(["LOC", "人-名"])
        )
        marks = [Mark(a, b, label, line) for a, b, label in draw(st.lists(cuts, max_size=4)) if a < b]
        rows.append(AnnotatedText(Path("x"), line, text, tuple(marks)))
    source = check_marks(Texts(Path("x"), rows, [], ""))
    return source if nested else remove_overlaps(source, keep_longest=True)


def plain(source: Texts) -> list:
    return [
        (text.text, None if text.marks is None else [mark[:3] for mark in text.marks])
        for text in source.texts
    ]


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """`new()`: a path that does not exist."""
    return lambda: tmp_path_factory.mktemp("convert") / "x"


def through(path: Path, writer: str, target, reader: str, **options):
    WRITABLE[writer].writer(path, target)
    return load(path, reader, Reading(**options))


@given(texts(), st.permutations(["jsonl", "brat", "jsonl", "brat"]))
@settings(deadline=None, max_examples=60)
def test_texts_and_nested_spans_survive_jsonl_and_brat(new, source, formats):
    found = source
    for name in formats:
        found = through(new(), name, found, name, overlaps="keep")
    assert plain(found) == plain(source)


@given(texts(ALPHABET.replace("\t", "").replace("\n", ""), nested=False, min_size=1), st.data())
@settings(deadline=None, max_examples=60)
def test_characters_survive_columns(new, source, data):
    document = to_document(source, unit="char")
    for writer in data.draw(st.permutations(["bio", "bioes", "bio"])):
        document = through(new(), writer, document, "bio", scheme=writer.upper())
        assert document.illegal == []
    assert plain(to_texts(document, unit="char")) == plain(source)


@pytest.mark.parametrize("text", ["\ufeffa", "\ufeff\ufeff", "\r", "\u3000", " ", "\u2028b", "-DOCSTART-"])
@pytest.mark.parametrize("unit", ["char", "word"])
def test_odd_first_tokens_survive_columns(new, text, unit):
    tokens = tuple(text) if unit == "char" else (text,)
    document = Document(Path("x"), [Sentence.with_spans(tokens, (Span(0, 1, "X"),))], [1], [], [], "", "BIO")
    assert through(new(), "bio", document, "bio").sentences == document.sentences
    document = document._replace(sentences=[Sentence.with_spans(("a", *tokens), (Span(0, 1, "X"),))])
    assert through(new(), "bio", document, "bio").sentences == document.sentences


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["U.S.", "它", "x-y", "🚀", ",", "cafe\u0301"]), st.booleans()),
            min_size=1,
        ),
        min_size=1,
    )
)
@settings(deadline=None, max_examples=60)
def test_words_survive_if_the_splitter_finds_them(new, rows):
    lines = ["".join(f"{word}\t{'B-X' if inside else 'O'}\n" for word, inside in row) for row in rows]
    path = new()
    path.write_text("\n".join(lines), encoding="utf-8")
    document = read(path, "bio")
    source = to_texts(document, unit="word")
    back = to_document(through(new(), "brat", through(new(), "jsonl", source, "jsonl"), "brat"), unit="word")
    others = {
        line for line, sentence in zip(document.first_lines, back.sentences, strict=True) if sentence.tokens
    }
    assert others == set(document.first_lines)
    for before, after in zip(document.sentences, back.sentences, strict=True):
        if "cafe\u0301" not in before.tokens:  # the splitter cuts it in two
            assert after == before


def test_the_program_converts_cluener_to_everything_and_back(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    line = {"text": "他在北京 。", "label": {"LOC": {"北京": [[2, 3]]}, "PER": {"他": [[0, 0]]}}}
    Path("x.json").write_text(json.dumps(line) + "\n")
    for source, to, out in (
        ("x.json", "brat", "pairs"),
        ("pairs", "bioes", "x.bioes"),
        ("x.bioes", "bio", "x.bio"),
        ("x.bio", "jsonl", "y.jsonl"),
    ):
        ended = run_main(convert, source, "--to", to, "--out", out)
        assert (ended.code, ended.err) == (0, "")
        assert f"{source}: format " in ended.out
    assert Path("pairs/1.ann").read_text() == "T1\tPER 0 1\t他\nT2\tLOC 2 4\t北京\n"
    assert Path("x.bioes").read_text() == "他\tS-PER\n在\tO\n北\tB-LOC\n京\tE-LOC\n \tO\n。\tO\n\n"
    assert json.loads(Path("y.jsonl").read_text()) == {
        "text": line["text"],
        "label": [[0, 1, "PER"], [2, 4, "LOC"]],
    }


def test_bilou_and_nested_columns_are_converted(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    Path("x").write_text("FC\tB-ORG\tO\nBonn\tL-ORG\tU-LOC\nwon\tO\tO\n")
    ended = run_main(convert, "x", "--columns", "1", "2,3", "--to", "jsonl", "--out", "y")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(Path("y").read_text())["label"] == [[0, 7, "ORG"], [3, 7, "LOC"]]
    assert run_main(convert, "x", "--columns", "1", "2,3", "--to", "bilou", "--out", "z").code == 2
    ended = run_main(
        convert, "x", "--columns", "1", "2,3", "--nested", "keep_longest", "--to", "bilou", "--out", "z"
    )
    assert "entities left out, as asked: 1\n  x:2: LOC 'Bonn' overlaps ORG 'FC Bonn'" in ended.out
    assert Path("z").read_text() == "FC\tB-ORG\nBonn\tL-ORG\nwon\tO\n\n"


def test_entities_that_do_not_fit_are_refused_or_listed(tmp_path, monkeypatch, run_main):
    monkeypatch.chdir(tmp_path)
    value = {"text": "New York-based\nBank", "label": [[0, 8, "LOC"], [4, 8, "X"], [15, 19, "ORG"]]}
    Path("x.jsonl").write_text(json.dumps(value))
    argv = ["x.jsonl", "--to", "bio", "--out", "y"]
    for options, message in (
        ([], "error: x.jsonl:1: X 4-8 'York' overlaps LOC 0-8 'New York'; 1 entity nested or overlapping"),
        (
            ["--nested", "keep_longest"],
            "error: x.jsonl:1: LOC 0-8 'New York' in 'New York-based'; 1 entity cut",
        ),
        (
            ["--nested", "keep_longest", "--unit", "char"],
            "error: x.jsonl:1: token '\\n', expected one that fits",
        ),
    ):
        ended = run_main(convert, *argv, *options)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert ended.err.startswith(message)
    ended = run_main(convert, *argv, "--nested", "keep_longest", "--misfits", "leave_out")
    assert ended.code == 0
    assert "entities left out, as asked: 2\n  x.jsonl:1: X 4-8 'York' overlaps" in ended.out
    assert read("y", "bio").sentences[0].spans == (Span(2, 3, "ORG"),)
    assert run_main(convert, *argv).err == "error: y: exists, expected a new path\n"
    assert sorted(path.name for path in Path().iterdir()) == ["x.jsonl", "y"]
    by_line = run_main(convert, "x.jsonl", "--to", "jsonl", "--out", "z", "--split_lines")
    assert by_line.code == 0
    assert [json.loads(row)["text"] for row in Path("z").read_text().splitlines()] == [
        "New York-based",
        "Bank",
    ]


@pytest.mark.parametrize(
    ("content", "to", "message"),
    [
        ("a b\tB-X\n", "brat", None),
        ('{"text": "a b"}', "bio", None),
        ('{"text": "a b", "label": [[0, 1, "a b"]]}', "brat", "x:1: label 'a b', expected a label without"),
        ('{"text": "中 国"}', "bio", "x:1: token ' ', expected one that fits in a column"),
        ("", "jsonl", "x: empty, expected annotated text"),
    ],
)
def test_a_target_that_cannot_express_a_text_refuses_it(
    tmp_path, monkeypatch, run_main, content, to, message
):
    monkeypatch.chdir(tmp_path)
    Path("x").write_text(content, encoding="utf-8")
    ended = run_main(convert, "x", "--to", to, "--out", "y")
    assert (ended.code, Path("y").exists()) == ((2, False) if message else (0, True))
    assert message is None or message in ended.err
