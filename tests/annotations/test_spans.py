"""Entities on disk, in a batch and in config.json, compared with plain loops and the tags of `TagSet`."""

import json

import numpy as np
import pytest

from ner.annotations.base import Scored
from ner.annotations.spans import Spans, read_labels
from ner.annotations.tag_spelling import MAX_TAGS, read_tag_set
from ner.errors import DataError
from ner.tags import ScoredSpan, Span, TagSet
from tests.factories import LABELS, make_inventories, make_spans

KIND = Spans()
INVENTORY = make_inventories(TagSet.from_labels(LABELS), max_span_len=3)["spans"]


def write_labels(folder, *lines):
    (folder / "tags.txt").write_text("".join(f"{line}\n" for line in lines))


def test_labels_of_a_set(tmp_path):
    write_labels(tmp_path, "O", "B-PER", "B-LOC", "I-LOC", "I-PER")
    assert read_labels(tmp_path) == ["LOC", "PER"]
    write_labels(tmp_path, "O")
    with pytest.raises(DataError, match=r"tags.txt: no entity type"):
        read_labels(tmp_path)


def test_overlapping_entities_need_the_file_of_spans():
    assert KIND.choose_file([(), (Span(0, 2, "LOC"), Span(2, 3, "LOC"))]) == "tags.txt"
    assert KIND.choose_file([(), (Span(0, 2, "LOC"), Span(1, 3, "LOC"))]) == "entities.jsonl"


def test_both_files_hold_the_same_entities(tmp_path):
    random = np.random.default_rng(0)
    lengths = random.integers(1, 9, size=50).tolist()
    tokens = [("x",) * length for length in lengths]
    values = [tuple(make_spans(random, length)) for length in lengths]
    for name in KIND.files:
        KIND.write(tmp_path / name, tokens, values)
        assert KIND.read(tmp_path / name, tokens) == (values, [])


def test_the_inventory_knows_the_longest_entity_and_whether_any_overlap(tmp_path):
    write_labels(tmp_path, "O", "B-LOC", "B-PER")
    flat, nested = [(Span(0, 4, "LOC"),), (Span(2, 3, "PER"),)], [(Span(0, 2, "LOC"), Span(1, 2, "PER"))]
    found = [KIND.read_inventory(tmp_path, values, scheme="BIOES") for values in (flat, nested, [])]
    assert [(one.max_span_len, one.nested) for one in found] == [(4, False), (2, True), (1, False)]
    assert {(one.tag_set.scheme, one.tag_set.labels) for one in found} == {("BIOES", ("LOC", "PER"))}
    with pytest.raises(DataError, match=r"tags.txt: no tags of GPE, ORG, which train holds"):
        KIND.read_inventory(tmp_path, [(Span(0, 1, "ORG"), Span(1, 2, "GPE"))])


def test_a_batch_has_the_label_numbers_and_leaves_unknown_labels_out():
    values = [(Span(0, 2, "PER"), Span(3, 4, "LOC")), (), (Span(1, 2, "ORG"), Span(4, 9, "LOC"))]
    assert INVENTORY.label_ids == {"LOC": 0, "PER": 1}
    padded = KIND.collate(values, INVENTORY)
    assert padded.dtype == np.int64
    empty = [0, 0, 0]
    assert padded.tolist() == [[[0, 2, 1], [3, 4, 0]], [empty, empty], [[4, 9, 0], empty]]


def test_the_config_of_a_model_lists_the_tags_and_the_facts_asked_for():
    config = KIND.to_config(INVENTORY, ["max_span_len"])
    assert config["id2label"] == dict(zip("01234", ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"], strict=True))
    assert config["label2id"] == {tag: int(number) for number, tag in config["id2label"].items()}
    assert config["ner"] == {"max_span_len": 3, "scheme": "BIO"}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"max_span_len": 0}, "max_span_len: got 0, expected a whole number above 0"),
        ({"max_span_len": True}, "max_span_len: got True"),
        ({"nested": 1}, "nested: got 1, expected true or false"),
    ],
)
def test_facts_of_a_config_are_checked(facts, message):
    config = KIND.to_config(INVENTORY, [])
    with pytest.raises(DataError, match=f"config.json: {message}"):
        KIND.from_config(config | {"ner": facts}, where="config.json")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "no id2label"),
        ({}, "no id2label"),
        (["O"], "no id2label"),
        ({"0": 7}, "id2label: expected names"),
        ({str(i): f"B-L{i}" for i in range(MAX_TAGS + 1)}, f"id2label: expected names, {MAX_TAGS} at most"),
        ({"1": "O"}, "id2label: '0'"),
    ],
)
def test_the_tags_of_a_config_are_checked(names, message):
    with pytest.raises(DataError, match=f"x: {message}"):
        read_tag_set({"id2label": names}, scheme=None, where="x")


def test_a_truncated_sentence_keeps_whole_entities_and_restoring_undoes_it():
    """Random flat entities and random remaining tokens; the oracle looks at every token of an entity."""
    random = np.random.default_rng(1)
    for _ in range(200):
        spans = make_spans(random, 8)
        kept = np.sort(random.choice(8, size=random.integers(1, 8), replace=False))
        truncated = KIND.truncate(spans, kept)
        whole = [span for span in spans if set(range(span.start, span.end)) <= set(kept.tolist())]
        assert [(kept[s.start : s.end].tolist(), s.label) for s in truncated] == [
            (list(range(s.start, s.end)), s.label) for s in whole
        ]
        found = [ScoredSpan(*span, 0.5) for span in truncated]
        assert [span.span for span in KIND.restore(found, kept)] == whole


def test_a_predicted_entity_over_removed_tokens_is_dropped():
    kept = np.array([0, 1, 5, 6])
    found = [ScoredSpan(0, 2, "LOC", 0.9), ScoredSpan(1, 3, "PER", 0.8)]
    assert KIND.restore(found, kept) == found[:1]


def test_json_has_offsets_in_the_text_and_six_digits_of_the_score():
    text, offsets = "New York 北", [(0, 3), (4, 8), (9, 10)]
    found = [ScoredSpan(0, 2, "LOC", 0.123456789), ScoredSpan(2, 3, "PER", 1.0)]
    assert KIND.to_json(text, offsets, found) == {
        "entities": [
            {"start": 0, "end": 8, "label": "LOC", "text": "New York", "score": 0.123457},
            {"start": 9, "end": 10, "label": "PER", "text": "北", "score": 1.0},
        ]
    }


def test_predictions_that_overlap_replace_the_file_of_tags(tmp_path):
    gold, found = (Span(0, 2, "LOC"),), [ScoredSpan(0, 1, "PER", 0.5)]
    written = KIND.write_predictions(tmp_path, "val", [Scored(("a", "b\t"), gold, found)])
    assert written == ["predictions_val.txt", "predictions_val.jsonl"]
    assert (tmp_path / written[0]).read_text() == "a\tB-LOC\tB-PER\nb\\u0009\tI-LOC\tO\n\n"
    expected = {"tokens": ["a", "b\t"], "gold": [[0, 2, "LOC"]], "predicted": [[0, 1, "PER"]]}
    assert json.loads((tmp_path / written[1]).read_text()) == expected
    found.append(ScoredSpan(0, 2, "PER", 0.5))
    assert KIND.write_predictions(tmp_path, "val", [Scored(("a", "b"), gold, found)]) == written[1:]
    assert [path.name for path in tmp_path.iterdir()] == written[1:]


def test_the_diagnosis_tells_no_prediction_from_wrong_predictions():
    gold = [(Span(0, 3, "LOC"),)]
    nothing = KIND.diagnose(gold, [[]], "too small a learning rate")
    assert "{'I-LOC': 2, 'B-LOC': 1}" in nothing
    assert "nothing but O is predicted: too small a learning rate" in nothing
    wrong = KIND.diagnose(gold, [[ScoredSpan(0, 1, "LOC", 0.5)]], "")
    assert "wrong end or type" in wrong
