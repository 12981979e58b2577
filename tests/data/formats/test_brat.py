"""brat's pairs: entities in parts, line ends, other annotations; an error names its file and line."""

import hashlib

import pytest

from ner.data.formats import Reading, load, read
from ner.data.formats.brat import read_brat
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


@pytest.fixture
def folder(tmp_path):
    """`folder({"a.txt": "...", "a.ann": "..."})` writes a collection."""

    def write(files: dict[str, str]):
        for name, content in files.items():
            (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "c" / name).write_bytes(content.encode())
        return tmp_path / "c"

    return write


def test_a_folder_of_pairs(folder):
    path = folder(
        {
            "b.txt": "He saw\r\nNew\r\nYork 😀 now.\n",
            "b.ann": "T1\tLOC 8 11;13 17\tNew York\r\nR1\tIn Arg1:T1 Arg2:T2\r\n"
            "#1\tNote T1\twhy\r\nT2\tX 18 19\t😀",
            "a/a.txt": "北京",
            "a/a.ann": "",
        }
    )
    document = read(path)
    assert (document.format, document.unit) == ("brat", "word")
    assert document.sentences == [
        Sentence.with_spans(("北", "京"), ()),
        Sentence.with_spans(
            ("He", "saw", "New", "York", "😀", "now", "."), (Span(2, 4, "LOC"), Span(4, 5, "X"))
        ),
    ]
    assert document.notes == ["2 lines of .ann without an entity ignored"]
    assert [s.tokens for s in read(path / "a" / "a.ann").sentences] == [("北", "京")]
    lines = read(path, reading=Reading(split_lines=True, drop_invalid=True))
    assert [s.tokens for s in lines.sentences][1:3] == [("He", "saw"), ("New",)]
    assert [lines.place(row) for row in range(4)] == ["c/a/a.txt:1", *(f"c/b.txt:{n}" for n in (1, 2, 3))]
    assert read(path / "b.ann").place(0) == "b.txt:1"
    assert lines.left_out == ("b.ann:1: LOC 8-17 'New\\r\\nYork'",)


def test_the_sha256_covers_all_files(folder):
    path = folder({"a.txt": "ab", "a.ann": "T1\tX 0 1\ta\n"})
    digests = [hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("a.txt", "a.ann")]
    expected = f"a.txt {digests[0]}\na.ann {digests[1]}\n"
    assert read_brat(path).sha256 == hashlib.sha256(expected.encode()).hexdigest()


def test_a_text_without_ann_is_not_annotated(folder):
    assert not read(folder({"a.txt": "ab"}), "brat").annotated


ERRORS = [
    ({"a.json": "{}"}, "c: a folder without .txt, expected a file or pairs x.txt and x.ann"),
    ({"a.txt": "a", "b.ann": ""}, "b.ann: no b.txt in its folder, expected pairs x.txt and x.ann"),
    ({"a.txt": "a", "a.ann": "", "b.txt": "b"}, "b.txt:1: not annotated, though other texts are; expected"),
    (
        {"a.txt": "ab", "a.ann": "T1\tX 0 1\ta\nT2 X 1 2 b\n"},
        "a.ann:2: got 'T2 X 1 2 b', expected T1 TAB LOC",
    ),
    ({"a.txt": "ab", "a.ann": "T1\tX 0 -1\ta\n"}, "a.ann:1: got 'T1\\tX 0 -1\\ta', expected T1 TAB LOC"),
    ({"a.txt": "ab", "a.ann": "{}"}, "a.ann:1: got '{}', expected T1 TAB LOC"),
    (
        {"a.txt": "a b c", "a.ann": "T1\tX 0 1;4 5\ta c\nT2\tX 0 1\ta"},
        "a.ann:1: X 0 1;4 5 is in 2 parts; 1 entity in parts, line 1, expected none; --misfits leave_out",
    ),
    (
        {"a.txt": "\r\nabc", "a.ann": "T1\tX 1 3\tab\n"},
        "a.ann:1: X 1-3 '\\na' in the text, 'ab' in the annotation; 1 entity not matching the text",
    ),
    ({"a.txt": "", "a.ann": ""}, "c: no text, expected texts that are not empty"),
]


@pytest.mark.parametrize(("files", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_names_the_file_and_the_line(folder, files, message):
    with pytest.raises(DataError) as error:
        read(folder(files), "brat")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_entity_of_tianchi_is_the_same_in_brat_and_in_json(ner_data):
    source = load(ner_data / "tianchi_tcm" / "brat_train", "brat", Reading(overlaps="keep"))
    assert (len(source.texts), sum(len(text.marks) for text in source.texts)) == (1000, 17757)
    assert source.notes == []
    other = load(ner_data / "tianchi_tcm" / "train.txt", "jsonl", Reading(overlaps="keep"))
    places = [{text.text: [mark[:2] for mark in text.marks] for text in s.texts} for s in (source, other)]
    assert places[0] == places[1]
