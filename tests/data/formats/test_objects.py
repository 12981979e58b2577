"""JSON of all formats: a list under a key that nobody reads is refused by name; objects of joined files."""

import json

import pytest

from ner.data.formats import FORMATS, guess_format, load, read
from ner.errors import DataError

TEXT = "Tonga beat Fiji"
SPANS = {
    "lists": [[0, 5, "LOC"]],
    "label first": [["LOC", 0, 5]],
    "offsets in a list": [{"span": [0, 5], "type": "LOC"}],
    "offsets as text": [["0", "5", "LOC"]],
    "objects": [{"begin": 0, "end": 5, "tag": "LOC"}],
    "nested": {"ner": [{"position": {"from": 0, "to": 5}, "category": "LOC"}]},
    "an item of another kind before": [None, [0, 5, "LOC"]],
}
OTHERS = {
    "tags": ["B-LOC", "O", "O"],
    "numbers": [1, 0, 0],
    "surfaces": {"LOC": ["Tonga", "Fiji"]},
    "triples": [["Tonga", "beat", "Fiji"]],
    "tokens with labels": [{"text": "Tonga", "ner": "LOC"}],
}
# the annotated object of each JSON format; and a task of Label Studio in both of its forms
ANNOTATED = {
    "jsonl": {"text": TEXT, "label": []},
    "cluener": {"text": TEXT, "label": {}},
    "labelstudio": {"data": {"text": TEXT}, "annotations": [{"result": []}]},
}


def write(tmp_path, *objects: dict):
    path = tmp_path / "x.json"
    path.write_text("\n".join(map(json.dumps, objects)))
    return path


@pytest.mark.parametrize("value", [*SPANS.values(), *OTHERS.values()], ids=[*SPANS, *OTHERS])
@pytest.mark.parametrize("name", FORMATS)
def test_no_reader_takes_an_unknown_list_for_no_entities(tmp_path, name, value):
    path = write(tmp_path, {"text": TEXT, "my_key": value})
    with pytest.raises(DataError) as error:
        load(path, name)
    assert name not in ANNOTATED or "x.json:1: got a list under 'my_key', a key that is" in str(error.value)
    with pytest.raises(DataError, match="'my_key'"):
        read(path)


@pytest.mark.parametrize("value", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize("name", ANNOTATED)
def test_unknown_spans_beside_known_ones_are_refused(tmp_path, name, value):
    known = ANNOTATED[name]
    path = write(tmp_path, known, known | {"my_key": value})
    with pytest.raises(DataError, match=r"x.json:2: got a list under 'my_key'"):
        load(path, name)


def test_unknown_spans_beside_the_text_of_a_task_are_refused(tmp_path):
    task = {"data": {"text": TEXT, "my_key": SPANS["lists"]}, "annotations": []}
    with pytest.raises(DataError, match=r"x.json:1: got a list under 'my_key'"):
        load(write(tmp_path, task), "labelstudio")


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        (
            {"relations": [{"id": 1, "from_id": 3, "to_id": 4, "type": "beats"}]},
            "key 'relations' not read, in 1",
        ),
        ({"triple_list": [["Tonga", "beat", "Fiji"]]}, "key 'triple_list' not read, in 1 object"),
        ({"meta": {"authors": ["a"]}, "Comments": ["b"], "my_key": []}, None),
        ({"tokens": [{"text": "Tonga", "start": 0, "end": 5, "id": 0, "ws": True}]}, None),
    ],
)
def test_other_lists_beside_entities_are_noted(tmp_path, extra, note):
    source = load(write(tmp_path, {"text": TEXT, "label": [[0, 5, "LOC"]]} | extra), "jsonl")
    assert [text.marks is not None for text in source.texts] == [True]
    assert source.notes == [] if note is None else note in source.notes[0]


@pytest.mark.parametrize(
    "extra", [{}, {"id": 3, "my_key": "LOC 0 5", "n": 2}, {"meta": {"a": [1]}, "my_key": []}]
)
def test_a_text_alone_is_not_annotated(tmp_path, extra):
    assert not read(write(tmp_path, {"text": TEXT} | extra)).annotated


def test_files_joined_by_cat_have_marks_between_their_objects(tmp_path):
    one = json.dumps({"text": TEXT, "label": [[0, 5, "LOC"]]})
    for gap in ("\n\ufeff", "\ufeff", "\r\n\ufeff"):
        path = tmp_path / "x.json"
        path.write_text(f"\ufeff{one}{gap}{one}\n", encoding="utf-8", newline="")
        assert guess_format(path) == "jsonl"
        source = load(path, "jsonl")
        assert [text.text for text in source.texts] == [TEXT] * 2
        assert any("byte order mark" in note for note in source.notes[1:])
