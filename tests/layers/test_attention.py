import pytest
import torch

from ner.layers import attention as seam
from tests.factories import needs_fused_bf16

VARIANTS = ["plain", "fused"]
SIZES = {"n_rows": 3, "n_heads": 2, "n_pieces": 7, "width": 4}


@pytest.fixture
def choose(monkeypatch):
    """`choose(name)`: `attention`, which computes in this way from now on."""

    def chosen(name):
        monkeypatch.setattr(seam, "prefers_fused", lambda query: name == "fused")
        return seam.attention

    return chosen


@pytest.fixture(params=VARIANTS)
def compute(request, choose):
    return choose(request.param)


def make_inputs(*, n_rows, n_heads, n_pieces, width, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, n_rows, n_heads, n_pieces, width)
    query, key, value = torch.randn(shape, generator=generator).to(dtype).unbind()
    n_real = torch.randint(1, n_pieces + 1, (n_rows,), generator=generator)
    mask = torch.arange(n_pieces) < n_real[:, None]
    return [tensor.clone().requires_grad_() for tensor in (query, key, value)], mask


def one_by_one(query, key, value, mask):
    """The definition, for one row and head at a time, over real keys only."""
    mixed = torch.zeros_like(query)
    for row in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys, values = key[row, head, mask[row]], value[row, head, mask[row]]
            scores = query[row, head] @ keys.T / query.shape[-1] ** 0.5
            mixed[row, head] = scores.softmax(-1) @ values
    return mixed


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(compute, seed):
    (query, key, value), mask = make_inputs(**SIZES, seed=seed)
    bias = seam.key_bias(mask, dtype=query.dtype)
    torch.testing.assert_close(compute(query, key, value, bias, 0.0), one_by_one(query, key, value, mask))


@pytest.mark.parametrize("n_pieces", [1, 5, 64, 300])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_fused_bf16)])
def test_both_ways_are_equal_forward_and_backward(choose, n_pieces, dtype):
    results = []
    for name in VARIANTS:
        inputs, mask = make_inputs(n_rows=2, n_heads=2, n_pieces=n_pieces, width=8, dtype=dtype)
        mixed = choose(name)(*inputs, seam.key_bias(mask, dtype=dtype), 0.0)
        assert mixed.dtype == dtype
        (mixed * mask[:, None, :, None]).float().square().sum().backward()
        results.append([mixed.detach(), *(tensor.grad for tensor in inputs)])
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padded_row_and_large_scores_stay_finite(compute, dtype):
    inputs, mask = make_inputs(**SIZES, dtype=dtype)
    inputs = [(tensor.detach() * 30).requires_grad_() for tensor in inputs]
    mask[1] = False
    mixed = compute(*inputs, seam.key_bias(mask, dtype=dtype), 0.0)
    mixed.float().sum().backward()
    assert mixed.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_has_no_power(compute, dtype):
    (query, key, value), mask = make_inputs(**SIZES, dtype=dtype)
    mask[0] = torch.arange(7) < 4
    bias = seam.key_bias(mask, dtype=dtype)
    before = compute(query, key, value, bias, 0.0)
    hidden = ~mask[:, None, :, None]
    after = compute(query, key.masked_fill(hidden, 50), value.masked_fill(hidden, -50), bias, 0.0)
    assert torch.equal(before, after)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_bias_is_zero_at_real_keys_and_finite_at_padding(dtype):
    mask = torch.tensor([[True, True, False], [False, False, False]])
    bias = seam.key_bias(mask, dtype=dtype)
    assert bias.shape == (2, 1, 1, 3)
    assert bias.dtype == dtype
    assert (bias[:, 0, 0][mask] == 0).all()
    assert bias.isfinite().all()
    assert (bias[:, 0, 0][~mask] < -3e4).all()


def test_length_chooses_on_a_cpu():
    lengths = (seam.FUSED_FROM_PIECES - 1, seam.FUSED_FROM_PIECES)
    chosen = [seam.prefers_fused(torch.zeros(1, 1, n_pieces, 2)) for n_pieces in lengths]
    assert chosen == [False, True]


def test_dropout_keeps_the_mean(compute):
    torch.manual_seed(0)
    ones = torch.ones(1, 1, 200, 4)
    bias = seam.key_bias(torch.ones(1, 200, dtype=torch.bool), dtype=ones.dtype)
    mixed = compute(ones, ones, ones, bias, 0.5)
    assert not torch.allclose(mixed, ones)
    assert mixed.mean().item() == pytest.approx(1, abs=0.05)
