"""The order in which rows are read backwards; tests/encoders/test_lstm.py compares the layer with torch's."""

import torch

from ner.layers.bilstm import BiLstmLayer, reversal


def test_the_real_part_is_reversed_and_padding_stays():
    mask = torch.arange(4) < torch.tensor([[4], [2], [1], [0]])
    order = reversal(mask)
    assert order.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert torch.equal(order.gather(1, order), torch.arange(4).expand(4, 4))


def test_float16_autocast_on_a_cpu_computes_in_float32():
    torch.manual_seed(0)
    layer, x = BiLstmLayer(6, 8), torch.randn(2, 5, 6)
    order = reversal(torch.ones(2, 5) > 0)
    expected = layer(x, order)
    with torch.autocast("cpu", dtype=torch.float16):
        assert torch.equal(layer(x, order), expected)
