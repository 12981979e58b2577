"""Gold that a model doubts: margins against all taggings of short sentences, one by one."""

import itertools
import json

import numpy as np
import pytest
import torch

import evaluate
from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.model.directory import save
from ner.model.tagger import Model
from ner.scoring.suspicious import Margins, suspicious
from ner.tags import Span, TagSet
from tests import factories
from tests.factories import FLAT, make_loader

TAGS = TagSet.from_labels(["LOC", "PER"], "BIO")
TEXTS = ["王明在北", "京", "北京", "王小明", "明明", "小王", "在", "在京", "明", "王在北京", "小", "北"]


def make_model(head: str) -> Model:
    """Random weights, drawn wide enough that the model is confident of some taggings."""
    tokenizer = learn_vocabulary([*"王小明在北京" * 3])
    model = factories.make_model(head, "lstm", tokenizer=tokenizer, max_len=24, seed=5, dropout=0.1)
    with torch.no_grad():
        for name, parameter in model.tagger.named_parameters():
            if "characters" in name or name.startswith("head."):
                parameter.normal_(std=3.0)
        if head == "crf":
            crf = model.tagger.head.crf
            crf.transitions[torch.from_numpy(~TAGS.legal[:-1, :-1])] = -30.0
            crf.start_transitions[torch.from_numpy(~TAGS.legal[-1, :-1])] = -30.0
    return model


def taggings(model: Model, text: str) -> dict[tuple[int, ...], float]:
    """Every tagging of the text, illegal ones too, with its log-probability by the head's definition."""
    [(_, batch)] = make_loader([Sentence.with_spans(tuple(text), None)], model.tokenizer).batches()
    with torch.no_grad():
        scores, _ = model.tagger(batch)
    emissions = scores[0, : len(text)].double().numpy()
    paths = list(itertools.product(range(len(TAGS)), repeat=len(text)))
    values = np.array([sum(emissions[t, k] for t, k in enumerate(path)) for path in paths])
    if hasattr(model.tagger.head, "crf"):
        crf = {name: p.detach().double().numpy() for name, p in model.tagger.head.crf.named_parameters()}
        values += [
            crf["start_transitions"][path[0]]
            + sum(crf["transitions"][pair] for pair in itertools.pairwise(path))
            + crf["end_transitions"][path[-1]]
            for path in paths
        ]
    return dict(zip(paths, values - np.log(np.exp(values).sum()), strict=True))


@pytest.mark.parametrize("head", FLAT)
def test_sentences_come_by_how_much_likelier_the_models_own_tagging_is(head, tmp_path, run_main):
    model = make_model(head)
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", model)
    expected, sentences, n_unsure = {}, [], 0
    for line, text in enumerate(TEXTS, start=1):
        legal = {p: v for p, v in taggings(model, text).items() if not TAGS.illegal_positions(p)}
        ranked = sorted(legal, key=legal.get, reverse=True)
        gold = ranked[0] if line % 3 == 0 else ranked[1 + len(ranked) // (line + 1)]
        sentences.append(Sentence.with_spans(tuple(text), tuple(TAGS.spans(gold))))
        if line % 3 and legal[ranked[0]] > np.log(0.5):
            expected[line] = (legal[ranked[0]] - legal[gold], legal[ranked[0]], TAGS.spans(ranked[0]))
        elif line % 3:
            n_unsure += 1
    assert len(expected) > 2
    assert n_unsure
    sentences.append(Sentence.with_spans(tuple("王明"), (Span(0, 1, "GPE"), Span(1, 2, "LOC"))))
    write_split(tmp_path / "data/test", sentences)
    options = ["--data_dir", tmp_path / "data", "--model_dir", tmp_path / "model", "--out_dir", tmp_path]
    ended = run_main(evaluate, *options, "--audit")
    assert ended.code == 0
    found = [json.loads(line) for line in (tmp_path / "suspicious_test.jsonl").read_text().splitlines()]
    assert [f["line"] for f in found] == sorted(expected, key=lambda line: -expected[line][0])
    for f in found:
        margin, log_probability, own = expected[f["line"]]
        assert f["margin"] == pytest.approx(margin, abs=1e-4)
        assert f["log_probability"] == pytest.approx(log_probability, abs=1e-4)
        sentence = sentences[f["line"] - 1]
        assert f["text"] == "".join(sentence.tokens)
        for key, spans in (
            ("gold_only", set(sentence.spans) - set(own)),
            ("predicted_only", set(own) - set(sentence.spans)),
        ):
            assert {(e["start"], e["end"], e["label"]) for e in f[key]} == spans
            assert all(e["text"] == f["text"][e["start"] : e["end"]] for e in f[key])
    lines = ended.err.splitlines()
    shown = [line for line in lines if line.startswith("  test/sentences.txt:")]
    assert [line.split(":")[1] for line in shown] == [str(f["line"]) for f in found]
    assert f"margin {found[0]['margin']:.2f}: gold " in shown[0]
    assert sorted(lines[-2:]) == [
        "  not ranked, gold has a label that the model does not know: 1",
        f"  not ranked, the model is not confident: {n_unsure}",
    ]


def test_no_audit_no_file(tmp_path, run_main):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", make_model("crf"))
    write_split(tmp_path / "data/test", [Sentence.with_spans(("王",), (Span(0, 1, "PER"),))] * 30)
    options = ["--data_dir", tmp_path / "data", "--model_dir", tmp_path / "model", "--out_dir", tmp_path]
    assert run_main(evaluate, *options).code == 0
    assert not list(tmp_path.glob("suspicious*"))


def test_ten_are_shown_and_all_are_written(tmp_path, run_main):
    model = make_model("softmax")
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", model)
    legal = {p: v for p, v in taggings(model, "在京").items() if not TAGS.illegal_positions(p)}
    worst = min(legal, key=legal.get)
    write_split(tmp_path / "data/test", [Sentence.with_spans(tuple("在京"), tuple(TAGS.spans(worst)))] * 12)
    options = ["--data_dir", tmp_path / "data", "--model_dir", tmp_path / "model", "--out_dir", tmp_path]
    ended = run_main(evaluate, *options, "--audit")
    assert ended.err.count("  test/sentences.txt:") == 10
    assert len((tmp_path / "suspicious_test.jsonl").read_text().splitlines()) == 12
    assert "the model doubts, the widest margins first: 12 in " in ended.err


def test_a_head_without_a_probability_of_a_whole_tagging_is_refused(tmp_path, run_main):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model", make_model("global_pointer"))
    write_split(tmp_path / "data" / "test", [Sentence.with_spans(("王",), ())])
    options = ["--data_dir", tmp_path / "data", "--model_dir", tmp_path / "model", "--audit"]
    ended = run_main(evaluate, *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"--audit: {tmp_path / 'model'} has a head without probabilities of a tagging" in ended.err


def test_gold_that_overlaps_is_not_ranked_by_a_head_that_cannot_say_it():
    sentence = Sentence.with_spans(("王", "明"), (Span(0, 2, "PER"), Span(0, 1, "LOC")))
    margins = Margins(make_model("softmax").tagger.head, 1)
    objects, others = suspicious([sentence], [[Span(0, 2, "PER")]], margins, unit="char")
    assert (objects, others) == ([], {"gold has entities that the model's head cannot find": 1})
