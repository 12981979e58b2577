"""Heads that score tags: gold tags, the loss of the softmax and decoding, against brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.heads import HEADS
from ner.tags import SCHEMES, TagSet
from tests.factories import (
    FLAT,
    HEAD_SCHEMES,
    LABELS,
    SIZES,
    make_head,
    make_inventories,
    make_scored_batch,
    path_score,
)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_gold_tags_on_the_device_are_those_of_the_tag_set(scheme, data):
    """Any flat spans, neighbours of one label included, under any order of the tags."""
    tags = TagSet.from_labels(LABELS, scheme).tags
    tag_set = TagSet(data.draw(st.permutations(tags)), scheme)
    head = HEADS["softmax"](SIZES["hidden_size"], make_inventories(tag_set))
    seed, n_sentences = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 4))
    _, batch, spans = make_scored_batch(
        head, n_sentences=n_sentences, n_tokens=data.draw(st.integers(1, 9)), seed=seed, apart=scheme == "IO"
    )
    found = head.gold_classes(batch)
    for row, mask, sentence in zip(found, batch.mask, spans, strict=True):
        assert row[mask].tolist() == tag_set.tag_ids(sentence, int(mask.sum()))
        assert (row[~mask] == tag_set.index["O"]).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_softmax_loss_is_the_cross_entropy_of_the_gold_classes(scheme):
    head = make_head("softmax", scheme)
    tag_set = head.tag_set
    scores, batch, spans = make_scored_batch(head, apart=scheme == "IO", n_tokens=6)
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        tags = tag_set.tag_ids(sentence, int(mask.sum()))
        chances = np.exp(table.double().numpy())
        chances /= chances.sum(axis=1, keepdims=True)
        assert loss.item() == pytest.approx(-sum(np.log(chances[t, k]) for t, k in enumerate(tags)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "scheme"), [pair for pair in HEAD_SCHEMES if pair[0] in FLAT])
def test_decode_finds_the_best_legal_path_and_the_chance_of_each_of_its_spans(name, scheme):
    head = make_head(name, scheme)
    tag_set = head.tag_set
    transitions = np.where(tag_set.legal, head.transition_table(), -np.inf)
    scores, batch, _ = make_scored_batch(head, n_tokens=3, n_sentences=6)
    for found, table, mask in zip(head.decode(scores, batch), scores, batch.mask, strict=True):
        paths = list(product(range(len(tag_set)), repeat=int(mask.sum())))
        every = np.array([path_score(path, table.double().numpy(), transitions) for path in paths])
        chances = np.exp(every - np.logaddexp.reduce(every))
        assert [scored.span for scored in found] == tag_set.spans(paths[every.argmax()])
        for span, chance in ((scored.span, scored.score) for scored in found):
            holding = [c for p, c in zip(paths, chances, strict=True) if c and span in tag_set.spans(p)]
            assert chance == pytest.approx(sum(holding))
