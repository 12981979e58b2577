"""Spans in JSON: every published spelling reads the same; an error names its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import read
from ner.data.formats.jsonl import read_jsonl
from ner.errors import DataError

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
    starts = [i for i, line in enumerate(path.read_text("utf-8-sig").split("\n"), 1) if line == "  {"]
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
    ('{"text": "ab", "label": [[1, 0, "X"]]}', "x.jsonl:1: X 1-0 in a text of 2 characters; 1 entity not "),
    ('[{"text": "a"} {"text": "b"}]', "x.jsonl:1: not JSON, expected , or ] after an object, nothing"),
    ('[{"text": "a"}\n', "x.jsonl:2: not JSON, expected , or ] after an object, nothing after the last ]"),
    ('[{"text": "a"},\n', "x.jsonl:2: not JSON at column 1, Expecting value"),
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
