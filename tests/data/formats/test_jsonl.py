"""Spans in JSON, CLUENER's included: every published spelling reads the same; an error names its line."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import Reading, read
from ner.data.formats.jsonl import read_cluener, read_jsonl
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span

TEXT = "Über 😀 in Zürich"
SPELLINGS = {
    "label": {"text": TEXT, "label": [[10, 16, "LOC"]]},
    "labels": {"id": 3, "text": TEXT, "labels": [[10, 16, "LOC"]], "Comments": []},
    "data": {"data": TEXT, "label": [[10, 16, "LOC"]]},
    "offsets": {
        "text": TEXT,
        "entities": [{"id": 1, "label": "LOC", "start_offset": 10, "end_offset": 16}],
        "relations": [],
    },
    "predict.py": {
        "text": TEXT,
        "entities": [{"start": 10, "end": 16, "label": "LOC", "text": "Zürich", "score": 0.9}],
    },
    "annotations": {
        "text": TEXT,
        "annotations": [{"label": "LOC", "start_offset": 10, "end_offset": 16, "user": u} for u in (1, 2)],
        "annotation_approver": None,
    },
    "spans": {
        "text": TEXT,
        "tokens": [{"text": "Über", "start": 0, "end": 4, "id": 0, "ws": True}],
        "spans": [{"start": 10, "end": 16, "token_start": 3, "token_end": 3, "label": "LOC"}],
        "answer": "accept",
    },
    "ents": {
        "text": TEXT,
        "ents": [{"start": 10, "end": 16, "label": "LOC"}],
        "sents": [{"start": 0, "end": 16}],
    },
    "a pair": [TEXT, {"entities": [[10, 16, "LOC"]]}],
    "entity_list": {
        "text": TEXT,
        "entity_list": [{"entity_index": {"begin": 10, "end": 16}, "entity_type": "LOC", "entity": "Zürich"}],
    },
}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "x.jsonl"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("layout", ["lines", "array", "pretty"])
def test_every_spelling_reads_the_same(path, spelling, layout):
    values = [SPELLINGS[spelling]] * 2
    if layout == "lines":
        path.write_text("\ufeff" + "\r\n\r\n".join(json.dumps(v) for v in values), encoding="utf-8")
    else:
        path.write_text(json.dumps(values, indent=2 if layout == "pretty" else None, ensure_ascii=False))
    document = read(path)
    assert (document.format, document.unit) == ("jsonl", "word")
    assert [s.tokens for s in document.sentences] == [("Über", "😀", "in", "Zürich")] * 2
    assert [[tuple(span) for span in s.spans] for s in document.sentences] == [[(3, 4, "LOC")]] * 2
    starts = [
        i for i, line in enumerate(path.read_text("utf-8-sig").split("\n"), 1) if line in ("  {", "  [")
    ]
    assert document.first_lines == {"lines": [1, 3], "array": [1, 1], "pretty": starts}[layout]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1), st.booleans())
@settings(deadline=None, max_examples=100)
def test_any_text_is_read_exactly(tmp_path_factory, texts, ascii_only):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    lines = (
        json.dumps({"text": t, "label": [[0, len(t), "X"]] if t else []}, ensure_ascii=ascii_only)
        for t in texts
    )
    path.write_bytes("\n".join(lines).encode())
    read_back = read_jsonl(path).texts
    assert [text.text for text in read_back] == texts
    assert [[tuple(m[:3]) for m in text.marks] for text in read_back] == [
        [(0, len(t), "X")] if t else [] for t in texts
    ]


def test_spans_of_several_users_are_read_once_and_ids_are_labels(path):
    rows = [(0, 4, 1), (10, 16, 1), (10, 16, 2)]
    items = [
        {"label": 12, "start_offset": start, "end_offset": end, "user": user} for start, end, user in rows
    ]
    path.write_text(json.dumps({"text": TEXT, "annotations": items}))
    document = read(path)
    assert document.sentences[0].spans == (Span(0, 1, "12"), Span(3, 4, "12"))
    assert document.notes == [
        "1 text of several users, their entities read together: line 1",
        "1 entity given twice, read once: line 1",
    ]


def test_texts_that_a_person_rejected_are_left_out(path):
    rows = [{"text": TEXT, "spans": [], "answer": answer} for answer in ("reject", "accept", "ignore")]
    path.write_text("\n".join(map(json.dumps, rows)))
    document = read(path)
    assert (len(document.sentences), document.first_lines) == (1, [2])
    assert document.notes == ["2 rejected texts left out: lines 1, 3"]


def test_without_a_key_a_text_is_not_annotated_and_with_an_empty_array_it_is(path):
    path.write_text('{"text": "a"}')
    assert not read(path).annotated
    path.write_text('{"text": "a", "entities": []}')
    assert read(path).annotated


ERRORS = [
    ('{"text": "ab", "label": [], "entities": []}', "x.jsonl:1: keys 'label' and 'entities', expected one"),
    ('{"text": "ab", "label": "X"}', "x.jsonl:1: got a string under 'label', expected an array of entities"),
    ('{"text": "ab", "label": null}', "x.jsonl:1: got null under 'label', expected an array of entities"),
    ('{"text": "ab", "label": ["X"]}', "x.jsonl:1: got X under 'label', expected [start, end, \"LOC\"]"),
    ('{"text": "ab", "label": [[0, 1]]}', "x.jsonl:1: got [0, 1] under 'label', expected [start, end"),
    ('{"text": "ab", "label": [["0", "1", "X"]]}', "x.jsonl:1: got ['0', '1', 'X'] under 'label', expected"),
    ('{"text": "ab", "label": [[0, 1.0, "X"]]}', "x.jsonl:1: got [0, 1.0, 'X'] under 'label', expected"),
    ('{"text": "ab", "label": [[0, 1, 7]]}', "x.jsonl:1: got [0, 1, 7] under 'label', expected"),
    ('{"text": "ab", "entities": [{"start": 0, "label": "X"}]}', "x.jsonl:1: got {'start': 0, 'label': 'X'}"),
    (
        '{"text": "ab", "label": [[0, 1, "\\ud800"]]}',
        "x.jsonl:1: half of a surrogate pair in label '\\ud800'",
    ),
    ('{"text": "ab", "label": [[1, 0, "X"]]}', "x.jsonl:1: X 1-0 ends before it starts; 1 entity not "),
    ('[{"text": "a"} {"text": "b"}]', "x.jsonl:1: not JSON, expected , or ] after an object, nothing"),
    ('[{"text": "a"}\n', "x.jsonl:1: not JSON, expected , or ] after an object, nothing after the last"),
    ('[{"text": "a"},\n', "x.jsonl:1: not JSON at column 16, Expecting value"),
    ('{"text": "a"\n', "x.jsonl:1: not JSON at column 13, Expecting ',' delimiter"),
    (
        '{"text": "a", "label": [[0, 1, "X"]\n{"text": "b"}\n',
        "x.jsonl:1: not JSON at column 36, Expecting ',' ",
    ),
    ('[{"text": "a"},]\n', "x.jsonl:1: not JSON at column 16, Expecting value"),
    ('[{"text": "a"}]\n3', "x.jsonl:1: not JSON, expected , or ] after an object, nothing after the last ]"),
    ('[{"text": "a"}, 3]', "x.jsonl:1: got a number, expected a JSON object"),
    ('{"text": "a"}\n{"text": "b\nc"}', "x.jsonl:2: not JSON at column 12, Invalid control character at"),
    ("[]", "x.jsonl: no text, expected texts that are not empty"),
    (
        '{"originalText": "ab", "entities": []}',
        "got keys ['originalText', 'entities'], expected a string under",
    ),
    (
        '{"text": "a-b", "label": [[0, 1, "X"]]}',
        "x.jsonl:1: X 0-1 'a' in 'a-b'; 1 entity cutting a token, line 1, expected none; --misfits leave_out",
    ),
]


@pytest.mark.parametrize(("content", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_names_the_file_and_the_line(path, content, message):
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read(path, "jsonl")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "n_texts", "n_entities", "n_empty"),
    [
        ("video_music_book/train.txt", 7814, 13532, 5),
        ("video_music_book/test.txt", 978, 1716, 0),
        ("boson/boson.txt", 2000, 23173, 0),
        ("tianchi_tcm/test.txt", 500, 0, 0),
        ("people_daily/people_daily_ner_1000.txt", 1000, 3619, 0),
    ],
)
def test_published_files_have_the_published_counts(ner_data, file, n_texts, n_entities, n_empty):
    source = read_jsonl(ner_data / file)
    assert len(source.texts) == n_texts
    assert sum(not text.text for text in source.texts) == n_empty
    assert sum(len(text.marks) for text in source.texts) == n_entities


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
CLUENER_ERRORS = [
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
    ('{"text": "ab", "label": {"X": {"": [[1, 0]]}}}', "x.json:1: X 1-1 is empty; 1 entity not matching"),
    ('{"text": "ab", "label": {"X": {"b": [[-1, 1]]}}}', "x.json:1: X -1-2 in a text of 2 characters"),
    ('{"text": "ab", "label": {"": {"b": [[1, 1]]}}}', "x.json:1: label '', expected a label that is not e"),
    (
        '{"text": "abcd", "label": {"X": {"abc": [[0, 2]]}, "Y": {"cd": [[2, 3]]}}}',
        "x.json:1: Y 2-4 'cd' overlaps X 0-3 'abc'; 1 entity nested or overlapping, line 1, expected none",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"), CLUENER_ERRORS, ids=[message for _, message in CLUENER_ERRORS]
)
def test_an_error_in_cluener_names_the_file_and_the_line(read_text, content, message):
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
