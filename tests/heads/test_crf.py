"""The loss of the CRF, against all paths and against pytorch-crf."""

from itertools import product

import numpy as np
import pytest
import torch
from torchcrf import CRF

from ner.tags import SCHEMES
from tests.factories import (
    make_head,
    make_scored_batch,
    path_score,
)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "IO"])
def test_crf_loss_is_the_share_of_the_gold_path_in_all_paths(scheme):
    head = make_head("crf", scheme)
    tag_set, transitions = head.tag_set, head.transition_table()
    scores, batch, spans = make_scored_batch(head, apart=scheme == "IO")
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        n_tokens, table = int(mask.sum()), table.double().numpy()
        every = [path_score(p, table, transitions) for p in product(range(len(tag_set)), repeat=n_tokens)]
        gold = path_score(tag_set.tag_ids(sentence, n_tokens), table, transitions)
        assert loss.item() == pytest.approx(np.logaddexp.reduce(every) - gold)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_crf_loss_is_that_of_pytorch_crf(scheme):
    head = make_head("crf", scheme)
    scores, batch, spans = make_scored_batch(head, n_tokens=12, apart=scheme == "IO")
    oracle = CRF(len(head.tag_set), batch_first=True)
    oracle.load_state_dict(head.crf.state_dict())
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        gold = torch.tensor(head.tag_set.tag_ids(sentence, int(mask.sum())))
        torch.testing.assert_close(loss, -oracle(table[mask][None], gold[None], mask[mask][None]))
