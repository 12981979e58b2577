"""CLUENER's JSON lines: inclusive ends, surfaces that must match; an error names its line."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import Reading, read
from ner.data.formats.jsonl import read_cluener
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


@pytest.fixture
def read_text(tmp_path):
    def reader(content: str, **options):
        (tmp_path / "x.json").write_text(content, encoding="utf-8")
        return read(tmp_path / "x.json", "cluener", **options)

    return reader


def test_ends_are_inclusive_and_every_character_is_a_token(read_text):
    document = read_text('{"id": 7, "text": "他 在北京", "label": {"LOC": {"北京": [[3, 4]]}}}\n')
    assert document.sentences == [Sentence.with_spans(("他", " ", "在", "北", "京"), (Span(3, 5, "LOC"),))]
    assert (document.unit, document.scheme, document.annotated) == ("char", None, True)


def test_one_surface_may_occur_several_times(read_text):
    line = '{"text": "上海，上海", "label": {"LOC": {"上海": [[3, 4], [0, 1]]}, "PER": {}}}\n\n'
    document = read_text(line + '{"text": "无", "label": {}}')
    assert [sentence.spans for sentence in document.sentences] == [(Span(0, 2, "LOC"), Span(3, 5, "LOC")), ()]
    assert document.first_lines == [1, 3]


def test_without_labels_a_file_is_not_annotated(read_text):
    document = read_text('{"id": 0, "text": "北京"}\n')
    assert document.sentences == [Sentence.with_spans(("北", "京"), None)]
    assert not document.annotated


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_random_entities_are_read_exactly(tmp_path_factory, data):
    """Builds a text around the entities, so that their offsets are known without the reader."""
    pieces = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
    text, labels, spans = "", {}, []
    for label, surface, gap in data.draw(st.lists(st.tuples(st.sampled_from("XY"), pieces, pieces))):
        places = labels.setdefault(label, {}).setdefault(surface, [])
        places.append([len(text), len(text) + len(surface) - 1])
        spans.append(Span(len(text), len(text) + len(surface), label))
        text += surface + gap
    text += "。"
    path = tmp_path_factory.mktemp("cluener") / "x.json"
    path.write_text(json.dumps({"text": text, "label": labels}, ensure_ascii=data.draw(st.booleans())))
    assert read(path, "cluener", unit="char").sentences == [Sentence.with_spans(tuple(text), tuple(spans))]


NAME = '{"text": "叶老桂", "label": {"name": {"叶老桂": [[0, 2]]}}}\n'
ERRORS = [
    ("", "x.json: empty, expected annotated text"),
    ("\n", "x.json: no text, expected texts that are not empty"),
    (NAME + "{]", "x.json:2: not JSON at column 2, Expecting property name"),
    (NAME + "[" * 100_000, "x.json:2: not JSON that can be read, nested too deeply"),
    ("3", "x.json:1: got a number, expected a JSON object"),
    ('{"text": "a", "text": "b"}', "x.json:1: key 'text' twice, expected it once"),
    ('{"data": "a"}', "x.json:1: got keys ['data'], expected a string under 'text'"),
    ('{"text": null}', "x.json:1: got null under 'text', expected a string under 'text'"),
    ('{"text": "a\\ud83d"}', "x.json:1: half of a surrogate pair in 'text', expected whole characters"),
    (NAME + '{"text": "a"}', "x.json:2: not annotated, though other texts are"),
    ('{"text": "ab", "label": [[0, 1, "X"]]}', "x.json:1: got an array, expected {type: {surface: [[start"),
    ('{"text": "ab", "label": {"X": [[0, 1]]}}', "x.json:1: got an array, expected {type: {surface: [[st"),
    ('{"text": "ab", "label": {"X": {"ab": [0, 1]}}}', "x.json:1: got [0, 1] for 'ab', expected {type: "),
    ('{"text": "ab", "label": {"X": {"ab": [[0, true]]}}}', "x.json:1: got [[0, True]] for 'ab', expected"),
    (
        NAME + '{"text": "上海市", "label": {"LOC": {"上海": [[1, 2]], "市": [[0, 0], [2, 2]]}}}',
        "x.json:2: LOC 1-3 '海市' in the text, '上海' in the annotation; 2 entities not matching the text",
    ),
    ('{"text": "ab", "label": {"X": {"b": [[1, 2]]}}}', "x.json:1: X 1-3 in a text of 2 characters; 1 ent"),
    ('{"text": "ab", "label": {"X": {"": [[1, 0]]}}}', "x.json:1: X 1-1 in a text of 2 characters; 1 entity"),
    ('{"text": "ab", "label": {"X": {"b": [[-1, 1]]}}}', "x.json:1: X -1-2 in a text of 2 characters"),
    ('{"text": "ab", "label": {"a b": {"b": [[1, 1]]}}}', "x.json:1: label 'a b', expected a label without"),
    ('{"text": "ab", "label": {"": {"b": [[1, 1]]}}}', "x.json:1: label '', expected a label without white"),
    (
        '{"text": "abcd", "label": {"X": {"abc": [[0, 2]]}, "Y": {"cd": [[2, 3]]}}}',
        "x.json:1: Y 2-4 'cd' overlaps X 0-3 'abc'; 1 entity nested or overlapping, line 1, expected none",
    ),
]


@pytest.mark.parametrize(("content", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_names_the_file_and_the_line(read_text, content, message):
    with pytest.raises(DataError) as error:
        read_text(content, unit="char")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "n_texts", "n_nested"), [("train", 10748, 2), ("dev", 1343, 0), ("test", 1345, 0)]
)
def test_every_entity_of_cluener_is_read(ner_data, name, n_texts, n_nested):
    path = ner_data / "cluener" / f"{name}.json"
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counts = Counter(
        (label, surface)
        for value in values
        for label, surfaces in value.get("label", {}).items()
        for surface, places in surfaces.items()
        for _ in places
    )
    texts = read_cluener(path).texts
    assert counts == Counter(
        (mark.label, text.text[mark.start : mark.end]) for text in texts for mark in text.marks or ()
    )
    document = read(path, "cluener", reading=Reading(overlaps="keep_longest"))
    assert document.unit == "char"
    assert len(document.left_out) == n_nested
    assert len(document.sentences) == n_texts
    assert ["".join(sentence.tokens) for sentence in document.sentences] == [v["text"] for v in values]
    if name != "test":
        assert sum(len(s.spans) for s in document.sentences) == counts.total() - n_nested
