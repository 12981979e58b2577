"""Label Studio's exports: offsets in either unit, shown by the entities' texts; notes on skipped parts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import load, read
from ner.data.formats.labelstudio import read_labelstudio
from ner.errors import DataError
from ner.tags import Span


def make_value(text: str, start: int, end: int, label: str = "X", *, utf16: bool = False) -> dict:
    """A value of the span `text[start:end]`; Python's UTF-16 encoder counts the offsets."""

    def units(stretch: str) -> int:
        return len(stretch.encode("utf-16-le")) // 2 if utf16 else len(stretch)

    places = {"start": units(text[:start]), "end": units(text[:end])}
    return places | {"text": text[start:end], "labels": [label]}


def make_task(text: str, *values: dict, **changes) -> dict:
    results = [
        {"type": "labels", "from_name": "label", "to_name": "text", "value": value} for value in values
    ]
    return {
        "id": 1,
        "data": {"text": text},
        "annotations": [{"result": results, **changes}],
        "predictions": [],
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.json"


def places(source) -> list[list[tuple]]:
    return [[mark[:3] for mark in text.marks] for text in source.texts]


TEXTS = st.text("ab中😀🇩\n\r", min_size=1, max_size=8)


@given(TEXTS, st.data(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=100)
def test_offsets_in_either_unit_become_code_points(tmp_path_factory, text, data, utf16, small):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    text = "😀<" + text  # a second entity shows the unit
    start, end = start + 2, end + 2
    values = [make_value(text, 1, 2, "Y", utf16=utf16), make_value(text, start, end, utf16=utf16)]
    task = make_task(text, *values)
    if small:
        task = {"id": 1, "text": text, "label": values}
    path = tmp_path_factory.mktemp("labelstudio") / "x.json"
    path.write_text(json.dumps([task]))
    assert places(read_labelstudio(path)) == [[(1, 2, "Y"), (start, end, "X")]]


def test_tasks_of_many_kinds(path):
    text = "He lives in Paris"
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    tasks = [
        make_task(text, make_value(text, 12, 17, "LOC")),
        make_task("none"),
        make_task("x", was_cancelled=True),
    ]
    tasks[0]["annotations"][0]["result"].append(choice)
    old = {
        "data": {"review": text, "n": 3},
        "completions": make_task(text, make_value(text, 0, 2))["annotations"],
    }
    path.write_text(json.dumps([*tasks, old], indent=1))
    document = read(path)
    assert document.format == "labelstudio"
    assert [len(sentence.spans) for sentence in document.sentences] == [1, 0, 1]
    assert document.notes[0].startswith("1 skipped task left out: line ")
    assert document.notes[1] == "1 result of other kinds ignored: line 2"


def test_tasks_that_are_skipped_or_not_done_are_left_out(path):
    done = make_task("Lima", make_value("Lima", 0, 4, "LOC"))
    undone = {"data": {"text": "Oslo"}, "annotations": [], "predictions": done["annotations"]}
    path.write_text("\n".join(map(json.dumps, [undone, done, make_task("x", was_cancelled=True), undone])))
    document = read(path)
    assert [sentence.tokens for sentence in document.sentences] == [("Lima",)]
    assert document.notes == [
        "1 skipped task left out: line 3",
        "2 tasks without annotation left out: lines 1, 4",
    ]


def test_a_task_of_json_min_that_is_done_may_have_no_label(path):
    labelled = {"text": "Lima", "label": [make_value("Lima", 0, 4, "LOC")], "annotation_id": 1}
    path.write_text(json.dumps([labelled, {"text": "none", "annotation_id": 2}]))
    assert [sentence.spans for sentence in read(path).sentences] == [(Span(0, 1, "LOC"),), ()]


@pytest.mark.parametrize("gap", [",", "\t"])
def test_a_table_exported_by_label_studio_is_refused_by_name(path, gap):
    names = ["text", "id", "label", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"]
    path.write_text(gap.join(names) + "\n" + gap.join(["Lima", "1", '"[{""start"":0}]"', *"123456"]) + "\n")
    with pytest.raises(DataError, match=r"x.json:1: a CSV or TSV export of Label Studio, expected its JSON"):
        read(path)


def test_tasks_without_annotations_are_not_annotated(path):
    path.write_text(json.dumps([{"data": {"text": "a"}, "annotations": []}]))
    assert not read(path).annotated


TWO = [*make_task("a", make_value("a", 0, 1))["annotations"]] * 2
ERRORS = [
    ({"data": {"a": "x", "b": "y"}}, "x.json:1: strings under ['a', 'b'], expected the text under 'text'"),
    ({"data": {"text": "a"}, "annotations": TWO}, "x.json:1: 2 annotations of one text, expected one"),
    ({"data": {"text": "a"}, "annotations": 3}, "x.json:1: got a number, expected an array of annotations"),
    ({"data": {"text": "a"}, "annotations": [{}]}, "x.json:1: got null, expected an array under 'result'"),
    (make_task("a", {"start": "/p[1]", "end": "/p[1]"}), "x.json:1: got {'start': '/p[1]', 'end': '/p[1]'}"),
    (
        make_task("a", {"start": 0, "end": 1, "labels": ["X", "Y"]}),
        "got labels ['X', 'Y'] for 0-1, expected one",
    ),
    (
        {"data": {"text": "a"}, "annotations": [{"result": [{"type": "paragraphlabels", "value": {}}]}]},
        "x.json:1: got results of type 'paragraphlabels', expected 'labels'",
    ),
    (make_task("a", {"start": 0, "end": 1}), "x.json:1: got labels None for 0-1, expected one"),
    (
        make_task("ab", make_value("ba", 0, 1)),
        "x.json:1: X 0-1 'a' in the text, 'b' in the annotation; 1 ent",
    ),
    (
        make_task("😀ab", {"start": 2, "end": 3, "labels": ["X"]}),
        "x.json:1: X 2-3 may count UTF-16 units or code points, expected the entity's text to show which",
    ),
]


@pytest.mark.parametrize(("task", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_names_the_file_and_the_line(path, task, message):
    path.write_text(json.dumps([task]), encoding="utf-8")
    with pytest.raises(DataError) as error:
        load(path, "labelstudio")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_without_a_type_are_not_taken_for_another_kind(path):
    task = make_task("Mia left", make_value("Mia left", 0, 3))
    del task["annotations"][0]["result"][0]["type"]
    path.write_text(json.dumps([task]), encoding="utf-8")
    with pytest.raises(DataError, match=r"x.json:1: got labels in a result without type, expected type"):
        load(path, "labelstudio")


def test_json_min_in_one_line_is_no_table(path):
    task = {"text": "Mia left", "ner": [make_value("Mia left", 0, 3)], "annotator": 1, "annotation_id": 2}
    path.write_text(json.dumps([task]), encoding="utf-8")
    assert read(path).sentences[0].spans == (Span(0, 1, "X"),)
