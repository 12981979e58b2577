"""The checks of the benchmarks report a difference, and the rivals get the same input."""

import json

import numpy as np
import pytest
import torch

from benchmarks import crf, data, infer, inputs, lengths, shares, stream, train
from benchmarks.steps import our_steps, some_batches
from ner.annotations.span_scores import score
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows, encode
from ner.tags import Span, spans_to_tags
from tests import factories

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefg", "##b"]


def make_sentence(text, *spans):
    return Sentence.with_spans(tuple(text), tuple(Span(*span) for span in spans))


def make_model():
    options = {"max_len": 512, "max_position_embeddings": 512, "dropout": 0.1, "fresh": True}
    return factories.make_model(tokenizer=WordPiece(VOCABULARY), **options)


def make_examples(n=40):
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcdefg"), random.integers(2, 30))) for _ in range(n)]
    return [make_sentence(text, (0, 2, "LOC")) for text in texts]


def test_hf_features_label_the_first_piece_of_each_token():
    model = make_model()
    sentence = Sentence.with_spans(("a", "ab", "c", "d"), (Span(1, 3, "LOC"),))
    [feature] = train.hf_features(encode([sentence], model.tokenizer), model, 16)
    tag, index = model.tag_set.index, model.tokenizer.index
    assert feature["input_ids"] == [index[p] for p in ("[CLS]", "a", "a", "##b", "c", "d", "[SEP]")]
    assert feature["labels"] == [-100, tag["O"], tag["B-LOC"], -100, tag["I-LOC"], tag["O"], -100]
    [cut] = train.hf_features(encode([sentence], model.tokenizer), model, 5)
    assert cut["input_ids"] == [*feature["input_ids"][:4], index["[SEP]"]]
    assert cut["labels"] == [*feature["labels"][:4], -100]


def test_losses_that_differ_are_reported():
    losses = {train.ANCESTOR: (2.0, 4.0), train.OURS: (2.2, 2.0)}
    assert train.difference(losses, train.OURS) == "1e-01, 5e-01"
    assert train.difference({train.OURS: (1.0, 1.0)}, train.OURS) == "not compared"


def test_some_batches_of_an_epoch_and_the_middle_one_before():
    model, sentences = make_model(), make_examples()
    examples = encode(sentences, model.tokenizer)
    loader = some_batches(examples, model, Windows(16), batch_tokens=64, n=3, seed=1)
    first, *chosen = loader.batch_indices(0)
    assert len(chosen) == 3
    assert np.array_equal(first, chosen[1])
    rows = [loader.row(batch) for batch in chosen]
    assert rows == [tuple(loader.collate(batch).piece_ids.shape[1:]) for batch in chosen]
    assert rows == sorted(set(rows))  # from short to long, all different


def test_steps_train():
    model = make_model()
    before = [p.clone() for p in model.tagger.parameters()]
    examples = encode(make_examples(), model.tokenizer)
    loader = some_batches(examples, model, Windows(32), batch_tokens=64, n=2, seed=1)
    assert our_steps(model.tagger, loader) > 0
    assert all((a != b).any() for a, b in zip(before, model.tagger.parameters(), strict=True))


def test_outside_is_as_frequent_as_asked():
    model, sentences = make_model(), make_examples()
    inputs.prefer_outside(model, sentences)
    model.tagger.eval()
    loader = some_batches(
        encode(sentences, model.tokenizer), model, Windows(32), batch_tokens=64, n=99, seed=1
    )
    outside = n = 0
    for indices in loader.batch_indices(0)[1:]:
        batch = loader.collate(indices)
        best = model.tagger(batch)[0].argmax(-1)[batch.mask]
        outside, n = outside + int((best == model.tag_set.index["O"]).sum()), n + len(best)
    assert outside / n == pytest.approx(inputs.OUTSIDE_SHARE, abs=0.02)


@pytest.mark.parametrize(
    ("unit", "tokens"), [("char", ("a", "b", "cd", "e")), ("word", ("x", "yz", "w", "v"))]
)
def test_tags_of_entities_in_text(unit, tokens):
    sentence = Sentence.with_spans(tokens, (Span(1, 3, "LOC"), Span(3, 4, "PER")))
    gap = 0 if unit == "char" else 1
    starts = [sum(len(t) + gap for t in tokens[:i]) for i in range(len(tokens))]
    entities = [
        {"start": starts[s.start], "end": starts[s.end - 1] + len(tokens[s.end - 1]), "label": s.label}
        for s in sentence.spans
    ]
    assert infer.tags_of(sentence, {"entities": entities}, unit) == ["O", "B-LOC", "I-LOC", "B-PER"]


def test_tags_that_differ_are_counted():
    assert infer.same_share([["O", "B-X"], ["O"]], [["O", "O"], ["O"]]) == pytest.approx(2 / 3)


def test_sentences_of_several_pieces_a_token_are_left_out():
    sentences = [make_sentence("abc"), Sentence.with_spans(("ab", "c"), ()), make_sentence("g" * 600)]
    assert infer.same_pieces(sentences, make_model(), None, rivals=False) == sentences[:1]


class Encoded(dict):
    """Like the result of transformers' tokenizer."""

    def word_ids(self, row):
        return self["words"][row]


def test_pieces_that_differ_are_not_identical():
    examples = encode([make_sentence("ab"), make_sentence("a\u200bc")], make_model().tokenizer)
    a, b, c = (VOCABULARY.index(piece) for piece in "abc")
    words, starts = [[0, 1], [0, 2]], [[0, 1], [0, 1]]
    same = Encoded(input_ids=[[a, b], [a, c]], words=words)
    other = Encoded(input_ids=[[a, a], [a, b]], words=words)
    message = data.compare_pieces(examples, same, starts)
    assert message == "1 of 2 sentences identical, 1 more except for dropped tokens"
    assert data.compare_pieces(examples, other, starts) == "0 of 2 sentences identical"


def test_first_pieces():
    assert data.first_pieces([0, 0, 1, 2, 2]) == [0, 2, 3]


def test_changed_gold_is_nearly_gold():
    gold = [[Span(0, 2, "LOC"), Span(3, 5, "PER")] for _ in range(2000)]
    total = score(gold, data.changed(gold, ["LOC", "PER"], 0), [6] * 2000).total
    assert 0.85 < total.f1 < 0.97
    assert total.n_predicted < total.n_gold


def test_figures_that_differ_are_reported():
    gold = [[Span(0, 2, "LOC")], [Span(1, 2, "PER")]]
    ours = data.our_figures(score(gold, [gold[0], []], [3, 3]))
    tags = [[spans_to_tags(spans, 3) for spans in rows] for rows in (gold, [gold[0], []])]
    assert data.same_figures(ours, data.seqeval_figures(*tags))
    assert not data.same_figures(ours, data.seqeval_figures(tags[0], tags[0]))


def test_difference_is_of_the_loss_and_the_worst_gradient():
    ours = [torch.tensor(2.2), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])]
    theirs = [torch.tensor(2.0), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]
    assert crf.difference(ours, theirs) == pytest.approx((0.1, 0.5))


def test_running_text_keeps_entities_that_stay_whole():
    sentences = [
        make_sentence("abcd", (0, 2, "LOC"), (3, 4, "PER")),
        Sentence.with_spans(("ab", "c"), ()),  # a token of two pieces: left out
        make_sentence("efg", (0, 3, "LOC")),
    ]
    parts = lengths.running_text(sentences, make_model(), 3, 3)
    expected = [make_sentence("abc", (0, 2, "LOC")), make_sentence("def", (0, 1, "PER"))]
    assert parts == [*expected, expected[0]]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", shares.PRODUCTS),
        ("mkldnn::_linear_pointwise", shares.PRODUCTS),
        ("aten::_softmax_backward_data", "softmax"),
        ("aten::copy_", "copies and casts"),
        ("aten::_fused_adamw_", "AdamW, clipping, zeroing"),
        ("aten::anything_else", shares.OTHER),
    ],
)
def test_kinds_of_operators(operator, kind):
    assert shares.kind_of(operator) == kind


@pytest.mark.parametrize(("answers", "same"), [("ab", True), ("a", False), ("abc", False), ("ba", False)])
def test_answers_that_do_not_match_the_lines_are_noticed(answers, same, tmp_path):
    text, found = tmp_path / "text", tmp_path / "answers"
    text.write_text("a\nb\n")
    found.write_text("".join(json.dumps({"text": answer}) + "\n" for answer in answers))
    assert stream.in_order(text, found) == same
