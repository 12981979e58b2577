"""A batch counts its tokens and moves to a device with its gold."""

import torch

from tests.factories import make_batch


def test_padding_is_not_counted():
    batch = make_batch(n_sentences=6, n_tokens=9)
    assert batch.n_tokens == sum(len(row.nonzero()) for row in batch.mask)
    assert 9 <= batch.n_tokens < batch.mask.numel()


def test_every_tensor_and_all_gold_move():
    batch = make_batch()
    batch.gold["soft_tags"] = torch.zeros(4, 7, 5)
    *tensors, gold, _ = batch.to("meta")
    assert {tensor.device.type for tensor in (*tensors, *gold.values())} == {"meta"}
    assert gold.keys() == {"spans", "soft_tags"}
    *tensors, _, _ = batch
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
