"""Tokens with tags as JSON: names and numbers of tags read the same; what differs in length is one line."""

import json

import pytest

from ner.data.formats import Reading, guess_format, load, read
from ner.data.formats.tokens import tag_names
from ner.errors import DataError
from ner.tags import Span

TOKENS = ["Mira", "saw", "New York"]
TAGS = ["B-PER", "O", "B-LOC"]
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NUMBERS = [1, 0, 3]
FEATURE = {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "Sequence"}
ROW = {"id": "0", "tokens": TOKENS, "ner_tags": NUMBERS}
SPELLINGS = {
    "names": [{"tokens": TOKENS, "ner_tags": TAGS}],
    "words": [{"words": TOKENS, "labels": TAGS, "text": "Mira saw New York"}],
    "tags": [{"tokens": TOKENS, "tags": TAGS}],
    "features first": [{"features": {"id": {}, "ner_tags": FEATURE}}, ROW],
    "features in each": [ROW | {"features": {"ner_tags": FEATURE}}],
    "features and data": [{"features": {"ner_tags": [{"names": dict(enumerate(NAMES))}]}, "data": [ROW]}],
    "viewer": [{"features": [{"name": "ner_tags", "type": FEATURE}], "rows": [{"row_idx": 0, "row": ROW}]}],
}


def write(tmp_path, objects: list, *, as_array: bool = False):
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps(objects) if as_array else "\n".join(map(json.dumps, objects)), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("objects", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_reads_the_same(tmp_path, objects, as_array):
    path = write(tmp_path, objects, as_array=as_array)
    assert guess_format(path) == "tokens"
    document = read(path)
    assert (document.scheme, document.unit, document.notes) == ("BIO", None, [])
    [sentence] = document.sentences
    assert sentence.tokens == tuple(TOKENS)
    assert sentence.spans == (Span(0, 1, "PER"), Span(2, 3, "LOC"))


def test_numbers_have_the_stated_names(tmp_path):
    path = write(tmp_path, [ROW, ROW | {"ner_tags": [0, 0, 0]}])
    document = read(path, reading=Reading(label_names=tuple(NAMES)))
    assert [sentence.spans for sentence in document.sentences] == [(Span(0, 1, "PER"), Span(2, 3, "LOC")), ()]


def test_names_stand_on_the_command_line_or_in_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeff" + "\r\n".join(NAMES) + "\r\n")
    assert tag_names([str(path)]) == tag_names(NAMES) == tuple(NAMES)
    with pytest.raises(DataError, match="no such file"):
        tag_names([str(tmp_path / "nothing.txt")])


@pytest.mark.parametrize(
    ("tags", "scheme", "spans"),
    [
        (["I-PER", "I-PER", "O", "I-PER", "B-PER"], "IOB1", [(0, 2), (3, 4), (4, 5)]),
        (["B-PER", "E-PER", "O", "S-PER", "S-PER"], "BIOES", [(0, 2), (3, 4), (4, 5)]),
    ],
)
def test_the_scheme_is_found_and_said(tmp_path, tags, scheme, spans):
    document = read(write(tmp_path, [{"tokens": list("abcde"), "tags": tags}]))
    assert (document.scheme, document.illegal) == (scheme, [])
    assert [(s.start, s.end) for s in document.sentences[0].spans] == spans
    assert document.notes == [f"tags are read as {scheme}"]


def test_illegal_tags_and_other_lists_are_said(tmp_path):
    good = {"tokens": ["a", "b"], "pos_tags": [1, 2], "ner_tags": ["B-X", "I-X"]}
    document = read(
        write(tmp_path, [good, good | {"ner_tags": ["O", "I-X"]}, good, {"tokens": [], "ner_tags": []}])
    )
    assert document.illegal == [(2, "I-X")]
    notes = ["key 'pos_tags' not read, in 3 objects", "1 sentence without a token left out: line 4"]
    assert document.notes == notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ner_tags": NUMBERS[:2]},
            "x.json:1: numbers under 'ner_tags', expected tags; --label_names",
        ),
        ({"ner_tags": TAGS[:2]}, "x.json:1: 2 ner_tags, expected 3 as tokens"),
        (
            {"ner_tags": [1, "O", "O"]},
            "x.json:1: got [1, 'O', 'O'] under 'ner_tags', expected a tag or",
        ),
        ({"ner_tags": None}, "x.json:1: got None under 'ner_tags', expected a tag or its number a token"),
        ({"ner_tags": ["B-PER", "O", "LOC"]}, "x.json:1: tag 'LOC'"),
        ({"tokens": ["a", "", "b"], "ner_tags": TAGS}, "expected tokens that are not empty"),
        ({"tokens": ["a", "\ud800", "b"], "ner_tags": TAGS}, "expected tokens that are not empty"),
        ({"labels": TAGS}, "x.json:1: keys 'ner_tags' and 'labels', expected one of them"),
        (
            {"ner_tags": TAGS, "entities": [{"start": 0, "end": 1, "type": "PER"}]},
            "a list under 'entities'",
        ),
    ],
)
def test_an_error_names_the_file_and_the_line(tmp_path, changes, message):
    with pytest.raises(DataError) as error:
        load(write(tmp_path, [ROW | changes]), "tokens")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_without_a_name_are_refused(tmp_path):
    for number in (5, -100):
        path = write(tmp_path, [ROW | {"ner_tags": [0, 0, number]}])
        with pytest.raises(DataError, match=rf"x.json:1: number {number} under 'ner_tags', expected 0 to 4"):
            read(path, reading=Reading(label_names=tuple(NAMES)))


def test_tags_under_an_unknown_key_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"x.json:1: got a list under 'my_tags', a key that is not read"):
        read(write(tmp_path, [{"tokens": TOKENS, "my_tags": TAGS}]))
    assert not read(write(tmp_path, [{"tokens": TOKENS}])).annotated


def test_several_tags_of_a_token_are_refused_or_the_first_is_taken(tmp_path):
    path = write(tmp_path, [{"tokens": TOKENS, "ner_tags": ["B-p,B-q", "O", "B-p"]}])
    with pytest.raises(DataError, match=r"x.json:1: 2 tags in 'B-p,B-q', expected one tag a token"):
        read(path)
    document = read(path, reading=Reading(first_tag=True))
    assert document.sentences[0].spans == (Span(0, 1, "p"), Span(2, 3, "p"))
    assert document.notes == ["1 token with several tags, the first taken: line 1"]


def test_an_index_after_each_character_is_named_and_removed(tmp_path):
    path = write(tmp_path, [{"tokens": ["北0", "京1"], "ner_tags": ["B-LOC", "I-LOC"]}])
    assert read(path).notes[0].startswith("2 of 2 tokens are a character and a number, such as '北0'")
    assert list(read(path, reading=Reading(strip_index=True)).sentences[0].tokens) == ["北", "京"]


def test_tags_without_label_get_the_stated_one(tmp_path):
    path = write(tmp_path, [{"tokens": ["a", "b"], "ner_tags": ["B", "O"]}])
    assert read(path).sentences[0].spans == (Span(0, 1, "ENTITY"),)
    assert read(path, reading=Reading(label_names=("DRUG",))).sentences[0].spans == (Span(0, 1, "DRUG"),)
