"""Contract tests of every annotation.  They cover a new one as soon as it has an example here."""

import json
from pathlib import Path

import numpy as np
import pytest

from ner.annotations import ANNOTATIONS
from ner.annotations.base import Annotation, Scored
from ner.data.sentence import Sentence
from ner.files import write_lines
from ner.heads import HEADS
from ner.tags import ScoredSpan, Span

TOKENS = [("a", "b", "c", "d"), ("e",), ("f", "g", "h")]
FLAT = [(Span(0, 2, "LOC"), Span(3, 4, "PARTY NAME")), (), (Span(1, 3, "PARTY NAME"),)]
NESTED = [(Span(0, 2, "LOC"), Span(0, 4, "PARTY NAME")), (), (Span(1, 3, "PARTY NAME"),)]
EXAMPLES = {"spans": [FLAT, NESTED]}  # gold of the three sentences


def predicted(name: str, values: list) -> list:
    """Turns gold into predicted values."""
    if name == "spans":
        return [[ScoredSpan(*span, 1.0) for span in spans] for spans in values]
    return values


CASES = [
    pytest.param(kind, values, id=f"{name}-{number}")
    for name, kind in ANNOTATIONS.items()
    for number, values in enumerate(EXAMPLES[name])
]


def make_inventory(kind: Annotation, values: list, folder: Path):
    if kind.name == "spans":
        write_lines(folder / "tags.txt", ["O", "B-LOC", "I-LOC", r"B-PARTY\u0020NAME", r"I-PARTY\u0020NAME"])
    return kind.read_inventory(folder, values, scheme="BIO")


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_what_is_written_is_read_back(kind, values, tmp_path):
    path = tmp_path / kind.choose_file(values)
    assert path.name in kind.files
    kind.write(path, TOKENS, values)
    assert kind.read(path, TOKENS) == (values, [])


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_a_model_keeps_its_inventory(kind, values, tmp_path):
    inventory = make_inventory(kind, values, tmp_path)
    facts = [fact for head in HEADS.values() for fact in head.facts if hasattr(inventory, fact)]
    config = json.loads(json.dumps(kind.to_config(inventory, facts)))
    read = kind.from_config(config, where="config.json")
    assert kind.labels(read) == kind.labels(inventory)
    assert set(kind.labels(inventory)) == kind.labels_of(values)
    assert kind.to_config(read, facts) == kind.to_config(inventory, facts)


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_batches_have_the_sentence_first(kind, values, tmp_path):
    padded = kind.collate(values, make_inventory(kind, values, tmp_path))
    assert isinstance(padded, np.ndarray)
    assert len(padded) == len(values)


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_gold_as_predicted_scores_1_and_nothing_scores_less(kind, values):
    lengths = [len(tokens) for tokens in TOKENS]
    scores = kind.score(values, predicted(kind.name, values), lengths)
    assert scores.headline == 1.0
    assert scores.per_epoch()[kind.headline] == scores.headline
    assert scores.n_gold == scores.summary()["n_gold"] == sum(map(kind.count, values))
    wrong = kind.score(values, predicted(kind.name, values[::-1]), lengths[:1] * 3)
    assert wrong.headline < 1


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_truncation_and_restoring(kind, values):
    for tokens, value, found in zip(TOKENS, values, predicted(kind.name, values), strict=True):
        everything = np.arange(len(tokens))
        assert kind.truncate(value, everything) == value
        assert kind.restore(found, everything) == found
        assert kind.count(kind.truncate(value, everything[:1])) <= kind.count(value)


@pytest.mark.parametrize(("kind", "values"), CASES)
def test_answers_are_json(kind, values, tmp_path):
    found = predicted(kind.name, values)
    offsets = [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert json.dumps(kind.to_json("abcd", offsets, found[0]))
    scored = [Scored(*row) for row in zip(TOKENS, values, found, strict=True)]
    written = kind.write_predictions(tmp_path, "test", scored)
    assert written
    assert {path.name for path in tmp_path.iterdir()} == set(written)


def test_white_space_in_a_label_parts_no_column_of_the_predictions(tmp_path):
    gold = (Span(0, 1, "PARTY NAME"),)
    ANNOTATIONS["spans"].write_predictions(tmp_path, "test", [Scored(("a",), gold, [])])
    assert (tmp_path / "predictions_test.txt").read_text() == "a\tB-PARTY\\u0020NAME\tO\n\n"


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_the_name_is_the_key(name):
    assert ANNOTATIONS[name].name == name
    assert Sentence(TOKENS[1], {name: EXAMPLES[name][0][1]}).gold.keys() == {name}
