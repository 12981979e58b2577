"""Evaluation gathers what its parts computed; messages about gold that is lost count it by hand."""

import json
from types import SimpleNamespace

import pytest
import torch
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from ner.annotations.span_scores import Counts, SpanScores, score
from ner.data.batches import Batches
from ner.data.sentence import Sentence, Split
from ner.data.tokenizer import learn_vocabulary
from ner.data.windows import Windows, encode
from ner.scoring.evaluate import (
    Evaluation,
    annotated_batches,
    count_gold,
    evaluate,
    log_missed_gold,
    log_scores,
    log_unread_gold,
    seqeval_strict,
    write_predictions,
)
from ner.tags import ScoredSpan, Span, TagSet
from tests.factories import make_head, make_inventories, make_targets

FLAT = Sentence.with_spans(tuple("abcd"), (Span(0, 2, "LOC"), Span(3, 4, "PER")))
NESTED = Sentence.with_spans(tuple("efg"), (Span(0, 3, "LOC"), Span(1, 2, "PER"), Span(2, 3, "PER")))
EMPTY = Sentence.with_spans(("h",), ())


def as_predicted(*spans):
    return {"spans": [ScoredSpan(*span, 1.0) for span in spans]}


def test_evaluation_scores_the_answers_of_the_prediction(monkeypatch):
    answers = [as_predicted(Span(0, 2, "LOC")), as_predicted(), as_predicted(Span(0, 1, "PER"))]
    monkeypatch.setattr("ner.scoring.evaluate.predict", lambda tagger, batches, device: (answers, 0.25))
    model = SimpleNamespace(tagger=SimpleNamespace(head=make_head("softmax")))
    sentences = [FLAT, NESTED, EMPTY]
    found = evaluate(model, SimpleNamespace(sentences=sentences), device=torch.device("cpu"))
    predicted = [[span.span for span in answer["spans"]] for answer in answers]
    assert found.main == score([s.spans for s in sentences], predicted, [4, 3, 1])
    assert found.main.total == Counts(n_gold=5, n_predicted=2, n_correct=1)
    assert found.predicted("spans") == [answer["spans"] for answer in answers]
    assert found.loss == found.summary()["loss"] == 0.25


def test_figures_of_further_annotations_stand_under_their_names():
    first, second = SpanScores(Counts(4, 2, 1)), SpanScores(Counts(1, 1, 1))
    found = Evaluation({"spans": first, "labels": second}, 0.5, [])
    assert found.main is first
    assert found.summary() == first.summary() | {"labels": second.summary(), "loss": 0.5}
    per_epoch = {f"labels_{key}": value for key, value in second.per_epoch().items()}
    assert found.per_epoch() == first.per_epoch() | per_epoch


def test_gold_is_counted_over_all_sentences():
    assert count_gold([FLAT, NESTED, EMPTY], "spans") == 5


def test_gold_that_the_head_cannot_find_is_logged(messages):
    log_missed_gold(make_head("softmax"), [FLAT, EMPTY])
    assert messages == []
    log_missed_gold(make_head("softmax"), [FLAT, NESTED, EMPTY])
    expected = "2 of 5 gold entities overlap others; this head cannot find them, they count as missed"
    assert messages == [expected]


def test_gold_that_truncation_cuts_off_is_logged(messages):
    """Two of eight pieces are special, so the last two of eight tokens are not read."""
    spans = Span(0, 2, "LOC"), Span(5, 7, "LOC"), Span(7, 8, "PER")
    sentences = [Sentence.with_spans(tuple("abcdefgh"), spans), EMPTY]
    for long_text in ("windows", "head"):
        windows = Windows(8, long_text=long_text)
        examples, targets = encode(sentences, learn_vocabulary("abcdefgh")), make_targets(["LOC", "PER"])
        log_unread_gold(Batches(examples, windows=windows, batch_tokens=99, targets=targets), "val")
    cut = "val: long_text head cuts 1 of 2 sentences"
    assert messages == [f"{cut}; 2 of 3 gold entities are not read, and count as missed"]


def test_batches_to_score_on_have_all_gold():
    tagger = SimpleNamespace(head=make_head("softmax"))
    model = SimpleNamespace(tagger=tagger, tokenizer=learn_vocabulary("abcdh"), windows=Windows(16))
    [(indices, batch)] = annotated_batches(model, [FLAT, EMPTY], batch_tokens=99).batches()
    gold = {int(i): batch.gold["spans"][row].tolist() for row, i in enumerate(indices)}
    assert gold == {0: [[0, 2, 0], [3, 4, 1]], 1: [[0, 0, 0], [0, 0, 0]]}


def test_every_sentence_is_written_with_its_own_answer(tmp_path):
    answers = [as_predicted(Span(0, 2, "LOC")), as_predicted(Span(0, 1, "PER"))]
    found = Evaluation({"spans": SpanScores()}, 0.0, answers)
    written = write_predictions(tmp_path, "test", [FLAT, EMPTY], found)
    assert written == ["predictions_test.txt", "predictions_test.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / written[1]).read_text().splitlines()]
    assert [line["predicted"] for line in lines] == [[[0, 2, "LOC"]], [[0, 1, "PER"]]]
    assert [line["tokens"] for line in lines] == [[*FLAT.tokens], [*EMPTY.tokens]]


def test_strict_figures_are_those_of_seqeval():
    rows, predicted = [["I-LOC", "O", "B-PER"], ["B-LOC", "I-PER"]], [["B-LOC", "O", "B-PER"], ["B-LOC", "O"]]
    tag_set = TagSet.from_labels(["LOC", "PER"])
    spans, guesses = (
        [tag_set.spans([tag_set.index[tag] for tag in row]) for row in side] for side in (rows, predicted)
    )
    sentences = [Sentence.with_spans("abc"[: len(row)], s) for row, s in zip(rows, spans, strict=True)]
    found = Evaluation({}, 0.0, [as_predicted(*row) for row in guesses])
    strict = seqeval_strict(Split(sentences, [(1, 0), (2, 1)]), found)
    assert strict["f1"] == pytest.approx(f1_score(rows, predicted, mode="strict", scheme=IOB2))
    assert strict["n_gold"] == 2
    assert seqeval_strict(Split(sentences, []), found) == {}


def test_the_log_names_labels_that_the_model_lacks(messages):
    split = Split([Sentence.with_spans("ab", [Span(0, 1, "GPE"), Span(1, 2, "LOC")])], [])
    found = Evaluation({"spans": score([split.sentences[0].spans], [[]], [2])}, 0.5, [as_predicted()])
    inventories = make_inventories(TagSet.from_labels(["LOC"]))
    log_scores("test", split, found, inventories=inventories, strict={"f1": 0.5, "n_gold": 1})
    table, line, unknown, strict = messages
    assert "GPE" in table
    assert line.startswith("test: 1 sentences, 2 gold entities, all scored: P 0.00")
    assert unknown.endswith("all counted as missed: GPE")
    assert strict.endswith("F1 50.00 on 1 gold")
