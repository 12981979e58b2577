"""Distillation: soft labels against brute force, their place by token and tag name, and the whole way."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch

from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.data.windows import Windows, encode
from ner.heads.crf import expected_scores, path_scores
from ner.model.features import Features
from ner.model.tagger import Tagger
from ner.tags import Span, TagSet
from ner.training.distillation import columns, compute_soft_labels, fingerprint, prepare
from ner.training.objectives import Distillation, Likelihood
from tests import factories
from tests.factories import make_head, make_scored_batch

TEXTS = ["中国队昨天抵达巴黎", "外交部", "昨天中国外交部发言人在巴黎说，中国队已经抵达。" * 2, "国"]
CPU = torch.device("cpu")


def make_model(head, *, width=16, max_len=32, **options):
    tokenizer = learn_vocabulary([*"".join(TEXTS[:-1])] * 2)
    options |= {"hidden_size": width, "tokenizer": tokenizer, "max_len": max_len}
    return factories.make_model(head, "lstm", **options)


def make_sentences():
    return [Sentence.with_spans(tuple(text), (Span(0, 1, "LOC"),)) for text in TEXTS]


def chances_of(head, table, temperature):
    """(T, K): the marginals of all taggings, by enumeration."""
    table, n_tags = table.double().numpy() / temperature, len(head.tag_set)
    learned = head.transition_table() / temperature
    found = np.zeros(table.shape)
    for path in product(range(n_tags), repeat=len(table)):
        score = sum(table[t, k] for t, k in enumerate(path))
        score += sum(learned[step] for step in pairwise((-1, *path, -1)))
        for t, k in enumerate(path):
            found[t, k] += np.exp(score)
    return found / found.sum(1, keepdims=True)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("name", ["softmax", "crf"])
def test_probabilities_are_marginals_of_all_taggings(name, temperature):
    head = make_head(name)
    scores, batch, _ = make_scored_batch(head, n_tokens=3)
    found = head.probabilities(scores, batch, temperature=temperature)
    for row, mask in enumerate(batch.mask):
        expected = chances_of(head, scores[row, mask], temperature)
        np.testing.assert_allclose(found[row, mask], expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("name", ["softmax", "crf"])
def test_the_soft_loss_is_the_cross_entropy_over_all_taggings(name, temperature):
    """Of a teacher whose taggings are drawn token by token."""
    head = make_head(name)
    n_tags, learned = len(head.tag_set), head.transition_table() / temperature
    scores, batch, _ = make_scored_batch(head, n_tokens=3)
    soft = torch.randn(scores.shape).softmax(-1) * batch.mask[..., None]
    found = head.soft_loss(
        scores, batch._replace(gold={**batch.gold, "soft_tags": soft}), temperature=temperature
    )
    for loss, table, chances, mask in zip(found, scores / temperature, soft, batch.mask, strict=True):
        paths = list(product(range(n_tags), repeat=int(mask.sum())))
        table, chances = table.double().numpy(), chances.double().numpy()
        every = np.array(
            [
                sum(table[t, k] for t, k in enumerate(path))
                + sum(learned[step] for step in pairwise((-1, *path, -1)))
                for path in paths
            ]
        )
        log_p = every - np.logaddexp.reduce(every)
        weights = np.array([np.prod([chances[t, k] for t, k in enumerate(path)]) for path in paths])
        assert loss.item() == pytest.approx(-(weights * log_p).sum() * temperature**2)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["softmax", "crf"])
def test_a_sure_teacher_is_gold(name):
    head = make_head(name)
    scores, batch, _ = make_scored_batch(head, n_tokens=6)
    soft = torch.nn.functional.one_hot(head.gold_classes(batch), len(head.tag_set)).float()
    torch.testing.assert_close(
        head.soft_loss(scores, batch._replace(gold={**batch.gold, "soft_tags": soft})),
        head.loss(scores, batch),
    )
    crf = make_head("crf")
    tags = head.gold_classes(batch)
    learned = (crf.crf.transitions, crf.crf.start_transitions, crf.crf.end_transitions)
    expected = path_scores(scores, tags, batch.mask, *learned)
    torch.testing.assert_close(expected_scores(scores, soft, batch.mask, *learned), expected)


def test_tags_meet_by_name():
    order = ["O", "I-PER", "B-PER", "B-LOC", "I-LOC"]
    teacher, student = TagSet(["[PAD]", *order], "BIO"), TagSet.from_labels(["LOC", "PER"], "BIO")
    numbers = columns(teacher, student)
    assert [teacher.tags[i] for i in numbers] == list(student.tags)
    with pytest.raises(ValueError, match="the teacher has no tag E-LOC"):
        columns(teacher, TagSet.from_labels(["LOC", "PER"], "BIOES"))
    with pytest.raises(ValueError, match="the student has no tag I-PER"):
        columns(teacher, TagSet.from_labels(["LOC"], "BIO"))


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_soft_labels_are_the_teachers_at_every_token_of_long_texts_too(head, tmp_path):
    teacher, sentences = make_model(head, max_len=16), make_sentences()
    order = list(reversed(teacher.tag_set.tags))
    tag_set = TagSet(order, teacher.tag_set.scheme)
    path = tmp_path / "soft.npy"
    found = compute_soft_labels(path, teacher, sentences, tag_set)["soft"]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype(np.float32).sum(1), 1, atol=2e-3)
    start = 0
    for sentence in sentences:
        loader = Batches(encode([sentence], teacher.tokenizer), windows=Windows(16), batch_tokens=64)
        batch = loader.collate([0])
        with torch.no_grad():
            scores, _ = teacher.tagger(batch)
            expected = teacher.tagger.head.probabilities(scores, batch)[0]
        end = start + len(sentence.tokens)
        numbers = [teacher.tag_set.index[tag] for tag in order]
        np.testing.assert_allclose(found[start:end], expected[:, numbers], atol=1e-3)
        start = end
    assert start == len(found)


def with_layers(model, layers):
    """Another model of the same weights."""
    tagger = Tagger(model.tagger.encoder, model.tagger.head, Features(model.tagger.encoder, layers))
    return replace(model, tagger=tagger)


def test_soft_labels_are_kept_and_known_by_what_they_depend_on(tmp_path, monkeypatch):
    teacher, sentences = make_model("softmax"), make_sentences()
    tags = teacher.tag_set.tags
    key = fingerprint(teacher, sentences, tags, 1.0)
    assert key == fingerprint(make_model("softmax"), make_sentences(), tags, 1.0)
    changed = [
        fingerprint(make_model("softmax", seed=1), sentences, tags, 1.0),
        fingerprint(teacher, sentences[:-1], tags, 1.0),
        fingerprint(teacher, sentences, tags[::-1], 1.0),
        fingerprint(teacher, sentences, tags, 2.0),
        fingerprint(replace(teacher, max_len=16), sentences, tags, 1.0),
        fingerprint(make_model("softmax", scheme="BIOES"), sentences, tags, 1.0),
        fingerprint(with_layers(teacher, 1), sentences, tags, 1.0),
    ]
    assert len({key, *changed}) == 8
    path = tmp_path / "soft.npy"
    first = np.array(compute_soft_labels(path, teacher, sentences, teacher.tag_set))
    with monkeypatch.context() as patch:
        patch.setattr("ner.training.distillation._fill", None)
        np.testing.assert_array_equal(compute_soft_labels(path, teacher, sentences, teacher.tag_set), first)
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(compute_soft_labels(path, teacher, sentences, teacher.tag_set), first)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_unlabelled_text_is_tagged_as_the_teacher_would(head, temperature, tmp_path):
    """By its best tagging, at either temperature.  For this CRF the marginals give another tagging."""
    teacher, student = make_model(head, seed=2), make_model("crf", width=4, seed=3)
    teacher.tagger.head.classifier.weight.data *= 60
    examples = encode(make_sentences(), student.tokenizer)
    texts = [TEXTS[2], "", TEXTS[0]]
    soft_labels = prepare(teacher, student, examples, texts, directory=tmp_path, temperature=temperature)
    assert len(soft_labels.examples) == len(TEXTS) + 2
    assert len(soft_labels.soft) == soft_labels.examples.token_ends[-1]
    assert soft_labels.examples.sentences[: len(TEXTS)] == examples.sentences
    loader = Batches(
        encode(soft_labels.examples.sentences[len(TEXTS) :], teacher.tokenizer),
        windows=Windows(teacher.max_len),
        batch_tokens=64,
    )
    for i, batch in loader.batches():
        scores, _ = teacher.tagger(batch)
        for row, spans in zip(i, teacher.tagger.head.decode(scores, batch), strict=True):
            sentence = soft_labels.examples.sentences[len(TEXTS) + int(row)]
            assert sentence.spans == tuple(scored.span for scored in spans)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_the_objective_weighs_gold_and_teacher(head, tmp_path):
    teacher, student = make_model("softmax"), make_model(head, width=4, seed=3)
    soft_labels = prepare(
        teacher, student, encode(make_sentences(), student.tokenizer), [], directory=tmp_path
    )
    loader = Batches(
        soft_labels.examples,
        windows=Windows(32),
        batch_tokens=256,
        targets=student.tagger.head,
        soft_tags=soft_labels.soft,
    )
    for _, batch in loader.batches():
        assert batch.gold["soft_tags"].shape == (*batch.mask.shape, len(student.tag_set))
        assert (batch.gold["soft_tags"][~batch.mask] == 0).all()
        gold = Distillation(weight=0.0)(student.tagger, batch)
        torch.testing.assert_close(gold, Likelihood()(student.tagger, batch))
        soft = Distillation(weight=1.0)(student.tagger, batch)
        half = Distillation(weight=0.5)(student.tagger, batch)
        torch.testing.assert_close(half, (gold + soft) / 2)
        scores, _ = student.tagger(batch)
        torch.testing.assert_close(soft, student.tagger.head.soft_loss(scores, batch).sum())
