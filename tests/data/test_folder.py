"""The built data set on disk: all of it or nothing; what is written is read, what is wrong is one line."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ner.data.build import Dataset, build
from ner.data.folder import read_split, read_unit, write_dataset, write_split
from ner.data.formats import Document
from ner.data.sentence import Sentence
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError
from ner.files import escape, read_json, unescape
from ner.tags import Span

ODD = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\u200b\u200d\ufeff\x00\\u0"
TOKENS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(ODD)), min_size=1, max_size=6
)


LABELS = st.sampled_from(["LOC", "人名", "PARTY NAME", "City ", "\u3000", "a\n-b\t", "\\u0020", "\ufeff"])


@st.composite
def annotated(draw):
    tokens = tuple(draw(st.lists(TOKENS, min_size=1, max_size=8)))
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=4)))
    spans = [Span(a, b, draw(LABELS)) for a, b in pairwise(cuts)]
    return Sentence.with_spans(tokens, tuple(spans))


@given(TOKENS)
@example("\\u0020")
@example("\\\\")
@example("\\\\u3000\\")
@example("\ufeff")
@settings(deadline=None, max_examples=300)
def test_a_token_survives_escaping(token):
    written = escape(token)
    assert unescape(written) == token
    assert not any(character.isspace() for character in written)
    assert not written.startswith("\ufeff")


def test_what_needs_no_escape_stays_as_it_is():
    assert escape("，") == "，"
    assert escape("\u200b") == "\u200b"
    assert escape(" ") == "\\u0020"
    assert escape("\\") == "\\\\"


@pytest.mark.parametrize("text", ["\\", "a\\b", "\\u00", "\\u00G0", "\\U0020"])
def test_a_backslash_that_begins_no_escape_stands_for_itself(text):
    assert unescape(text) == text


@given(st.lists(annotated(), min_size=1, max_size=5))
@settings(deadline=None, max_examples=100)
def test_a_split_survives_the_disk(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("set")
    write_split(folder / "train", sentences)
    split = read_split(folder, "train")
    assert split.sentences == sentences
    assert split.illegal == []
    assert all(sentence.gold for sentence in split.sentences)


def test_a_split_without_annotation(tmp_path):
    sentences = [Sentence.with_spans(("北", "京"), None), Sentence.with_spans(("\u3000",), None)]
    write_split(tmp_path / "test", sentences)
    assert not (tmp_path / "test" / "tags.txt").exists()
    split = read_split(tmp_path, "test")
    assert split.sentences == sentences
    assert not any(sentence.gold for sentence in split.sentences)


def test_lines_end_at_newlines_alone(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val/sentences.txt").write_bytes("\ufeff北 京\r\n\u200bx\x85 y".encode())
    assert [s.tokens for s in read_split(tmp_path, "val").sentences] == [("北", "京"), ("\u200bx\x85", "y")]


def test_illegal_tags_of_a_hand_made_split_are_listed(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val/sentences.txt").write_text("a b\nc d\n")
    (tmp_path / "val/tags.txt").write_text("B-LOC I-LOC\nO I-PER\n")
    split = read_split(tmp_path, "val")
    assert split.illegal == [(2, 1)]
    assert split.sentences[1].spans == (Span(1, 2, "PER"),)


@st.composite
def nested(draw):
    tokens = tuple(draw(st.lists(TOKENS, min_size=1, max_size=8)))
    places = st.sets(st.integers(0, len(tokens)), min_size=2, max_size=2).map(sorted)
    spans = draw(st.sets(st.tuples(places.map(tuple), LABELS), max_size=5))
    return Sentence.with_spans(tokens, tuple(sorted(Span(*place, label) for place, label in spans)))


@given(st.lists(nested(), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_nested_split_survives(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("nested")
    write_split(folder / "val", sentences, {"spans": "entities.jsonl"})
    assert sorted(path.name for path in (folder / "val").iterdir()) == ["entities.jsonl", "sentences.txt"]
    assert read_split(folder, "val") == (sentences, [])


ENTITIES = [
    ("[]\n", "val/entities.jsonl: 1 lines, expected 2 as in"),
    ("[]\n[[0, 1, 'X']]\n", "val/entities.jsonl:2: not JSON, expected [[start, end, label], ...]"),
    ("[]\n{}\n", "val/entities.jsonl:2: got {}, expected [[start, end, label], ...]"),
    ("[]\n" + "[" * 100_000 + "\n", "val/entities.jsonl:2: not JSON"),
    ("[]\n[[0, 1" + "0" * 5000 + ', "X"]]\n', "val/entities.jsonl:2: "),
    ('[]\n[[0, 2, "X"]]\n', "val/entities.jsonl:2: got [0, 2, 'X'], expected [start, end, label] in 0..1"),
    ('[]\n[[0, 0, "X"]]\n', "val/entities.jsonl:2: got [0, 0, 'X'], expected"),
    ('[]\n[[-1, 1, "X"]]\n', "val/entities.jsonl:2: got [-1, 1, 'X'], expected"),
    ('[]\n[[0, true, "X"]]\n', "val/entities.jsonl:2: got [0, True, 'X'], expected"),
    ("[]\n[[0, 1]]\n", "val/entities.jsonl:2: got [0, 1], expected"),
    ('[]\n[[0, 1, ""]]\n', "val/entities.jsonl:2: label '', expected a label of whole characters"),
    ('[]\n[[0, 1, "\\ud83d"]]\n', "val/entities.jsonl:2: label '\\ud83d', expected a label"),
    ('[[0, 1, "X"], [0, 2, "X"], [0, 1, "X"]]\n[]\n', "val/entities.jsonl:1: [0, 1, 'X'] twice, expected"),
]


@pytest.mark.parametrize(("content", "message"), ENTITIES, ids=range(len(ENTITIES)))
def test_entities_that_cannot_be_are_named_with_their_line(tmp_path, content, message):
    (tmp_path / "val").mkdir()
    (tmp_path / "val/sentences.txt").write_text("a b\nc\n")
    (tmp_path / "val/entities.jsonl").write_text(content)
    with pytest.raises(DataError) as error:
        read_split(tmp_path, "val")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_split_has_tags_or_entities(tmp_path):
    write_split(tmp_path / "val", [Sentence.with_spans(("a",), ())])
    (tmp_path / "val/entities.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match=r"val: tags.txt and entities.jsonl, expected one of them"):
        read_split(tmp_path, "val")


@pytest.mark.parametrize(
    ("sentences", "tags", "message"),
    [
        (b"", None, "val/sentences.txt: empty, expected one sentence a line"),
        (b"a  b\n", None, "val/sentences.txt:1: empty token, expected tokens separated by one space"),
        (b"a\n\nb\n", None, "val/sentences.txt:2: empty token"),
        (b"a\nb\xff\n", None, "val/sentences.txt:2: not utf-8, got bytes ff 0a"),
        (b"a b\n", b"O\n", "val/tags.txt:1: 1 tags, expected 2 as in"),
        (b"a b\n", b"O O\nO\n", "val/tags.txt: 2 lines, expected 1 as in"),
        (b"a\nb\n", b"O\nB_PER\n", "val/tags.txt:2: tag 'B_PER', expected O or B-"),
        (
            b"a\nb c\n",
            b"B-X\nI-X M-X\n",
            "val/tags.txt:2: tag prefixes B, I, M, expected the prefixes of BIO",
        ),
    ],
)
def test_a_wrong_split_is_named_with_its_line(tmp_path, sentences, tags, message):
    (tmp_path / "val").mkdir()
    (tmp_path / "val/sentences.txt").write_bytes(sentences)
    if tags is not None:
        (tmp_path / "val/tags.txt").write_bytes(tags)
    with pytest.raises(DataError) as error:
        read_split(tmp_path, "val")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no such split, expected a set made by build_dataset\.py"):
        read_split(tmp_path, "val")


def test_the_unit_is_read_or_guessed(tmp_path):
    characters, words = (
        [Sentence.with_spans(("北", "京"), None)],
        [Sentence.with_spans(("New", "York", "a"), None)],
    )
    assert guess_unit_of_tokens(characters) == "char"
    assert guess_unit_of_tokens(words) == "word"
    assert read_unit(tmp_path, words) == "word"
    (tmp_path / "dataset.json").write_text(json.dumps({"unit": "char"}))
    assert read_unit(tmp_path, words) == "char"
    (tmp_path / "dataset.json").write_text(json.dumps({"unit": "byte"}))
    with pytest.raises(DataError, match="unit 'byte', expected char or word"):
        read_unit(tmp_path, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{\n\n", ":3: not JSON"), ("[1]", "got list, expected one JSON object"), ("[" * 100_000, "nested too")],
)
def test_json_that_is_none(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_json(tmp_path / "x.json")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_dataset(n: int, *, val_size: int = 2, test: int = 0) -> Dataset:
    sentence = Sentence.with_spans(("北",), (Span(0, 1, "LOC"),))
    documents = {
        split: Document(Path("x.txt"), [sentence] * size, list(range(size)), [], [], "", "BIO")
        for split, size in (("train", n), ("test", test))
        if size
    }
    return build(documents, val_size=val_size)


def test_an_earlier_build_is_replaced_and_the_rest_is_left(place, snapshot):
    Path("o").mkdir()
    Path("o/README.md").write_text("mine")
    write_dataset("o", make_dataset(20, test=2))
    assert sorted(p.name for p in Path("o").iterdir()) == [
        "README.md",
        "dataset.json",
        "tags.txt",
        "test",
        "train",
        "val",
    ]
    Path("o/train/entities.jsonl").touch()
    write_dataset("o", make_dataset(20, val_size=0))
    after = snapshot(Path("o"))
    assert sorted(after) == [
        "README.md",
        "dataset.json",
        "tags.txt",
        "train",
        "train/sentences.txt",
        "train/tags.txt",
    ]
    assert after["README.md"] == b"mine"


def renaming_until(n_moves: int, failure):
    """`Path.rename`, whose n-th call moves the file and is interrupted before anybody hears of it."""
    rename, calls = Path.rename, []

    def breaks_off(path, target):
        calls.append(path)
        rename(path, target)
        if len(calls) == n_moves:
            raise failure

    return breaks_off


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_build_that_breaks_off_while_moving_puts_everything_back(
    place, snapshot, monkeypatch, failure, earlier
):
    dataset = make_dataset(10, test=3)
    if earlier:
        write_dataset("deep/o", make_dataset(30))
        Path("deep/o/README.md").write_text("mine")
    before = snapshot(place)
    for n_moves in range(1, 6 + 4 * earlier):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", renaming_until(n_moves, failure))
            with pytest.raises((KeyboardInterrupt, DataError)):
                write_dataset("deep/o", dataset)
        assert snapshot(place) == before
    write_dataset("deep/o", dataset)
    assert snapshot(place) != before


def test_a_build_that_breaks_off_while_writing_leaves_nothing(place, snapshot, monkeypatch):
    before = snapshot(place)

    def full(folder, sentences, files):
        write_split(folder, sentences, files)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ner.data.folder.write_split", full)
    with pytest.raises(DataError, match="deep/o: cannot be written, No space left on device"):
        write_dataset("deep/o", make_dataset(10))
    assert snapshot(place) == before
