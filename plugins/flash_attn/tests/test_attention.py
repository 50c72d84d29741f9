"""The kernel and its stand-in give what softmax(q kT / sqrt(head_dim)) v gives, and its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom.attention import Attention
from mindloom_flash_attn import chunked
from mindloom_flash_attn.chunked import ChunkedAttention
from mindloom_flash_attn.compile import library
from mindloom_flash_attn.native import NativeAttention
from mindspore import nn

Arrays = tuple[np.ndarray, ...]

ms.set_device("CPU")  # before the first operation; later runs in this process cannot do it any more

SIZES = {
    "one token": (1, 1, 1, 1, 16, False),
    "odd sizes": (2, 33, 77, 3, 40, False),
    "head_dim 7": (1, 5, 9, 2, 7, False),
    "cross attention": (2, 300, 77, 2, 64, False),
    "several tiles": (1, 417, 389, 2, 64, False),
    "more queries than a chunk": (1, 600, 20, 1, 16, False),
    "causal text": (2, 77, 77, 2, 64, True),
    "causal over tiles": (1, 401, 401, 1, 24, True),
    "one wide head": (1, 150, 150, 1, 512, False),
}


def inputs(batch: int, queries: int, keys: int, width: int, size: float = 1.0) -> Arrays:
    """q, k, v and the gradient of the result; ``size`` is that of q and k."""
    rng = np.random.default_rng(queries * 1000 + keys)
    shapes = [(batch, tokens, width) for tokens in (queries, keys, keys, queries)]
    scales = (size, size, 1.0, 1.0)
    return tuple((rng.standard_normal(s) * f).astype(np.float32) for s, f in zip(shapes, scales, strict=True))


def reference(arrays: Arrays, heads: int, causal: bool) -> Arrays:
    """Result and gradients of q, k, v in float64."""
    q, k, v, grad = (x.astype(np.float64).reshape(len(x), x.shape[1], heads, -1).transpose(0, 2, 1, 3) for x in arrays)
    scale = q.shape[-1] ** -0.5
    scores = q @ k.swapaxes(2, 3) * scale
    if causal:
        scores = np.where(np.triu(np.ones(scores.shape[2:]), 1) > 0, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    dweights = grad @ v.swapaxes(2, 3)
    dscores = weights * (dweights - (dweights * weights).sum(-1, keepdims=True)) * scale
    results = (weights @ v, dscores @ k, dscores.swapaxes(2, 3) @ q, weights.swapaxes(2, 3) @ grad)
    return tuple(x.transpose(0, 2, 1, 3).reshape(len(x), x.shape[2], -1) for x in results)


class Weighted(nn.Cell):
    """Sum of result times ``grad``: its gradient sends ``grad`` into the attention."""

    def __init__(self, attention: nn.Cell) -> None:
        super().__init__()
        self.attention = attention

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, grad: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        out = self.attention(q, k, v)
        return (out.astype(ms.float32) * grad.astype(ms.float32)).sum(), out


def run(cell: nn.Cell, arrays: Arrays, dtype: Any = ms.float32) -> Arrays:
    ms.set_context(mode=ms.GRAPH_MODE)
    grads = ms.jit(ms.value_and_grad(Weighted(cell), (0, 1, 2), has_aux=True))
    (_, out), found = grads(*(ms.Tensor(x).astype(dtype) for x in arrays))
    return tuple(x.asnumpy() for x in (out, *found))


def error(found: Arrays, expected: Arrays) -> float:
    """Largest difference, relative to the largest value of each array.

    The gradients of q and k vanish when there is one key; then the difference itself counts.
    """
    return max(float(np.abs(f - e).max() / (np.abs(e).max() or 1)) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", SIZES)
def test_the_kernel_agrees_with_float64(name: str) -> None:
    batch, queries, keys, heads, head_dim, causal = SIZES[name]
    arrays = inputs(batch, queries, keys, heads * head_dim)
    cell = NativeAttention(heads, head_dim, queries if causal else 0, library())
    assert error(run(cell, arrays), reference(arrays, heads, causal)) < 5e-6


@pytest.mark.parametrize("name", ["odd sizes", "more queries than a chunk", "causal over tiles"])
def test_chunks_agree_with_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK", 128)
    batch, queries, keys, heads, head_dim, causal = SIZES[name]
    arrays = inputs(batch, queries, keys, heads * head_dim)
    cell = ChunkedAttention(heads, head_dim, queries if causal else 0)
    assert error(run(cell, arrays), reference(arrays, heads, causal)) < 5e-6


@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_agrees_with_plain_attention(causal: bool) -> None:
    arrays = inputs(2, 130, 130, 4 * 40)
    plain = Attention(4, 40, 130 if causal else 0)
    assert error(run(NativeAttention.like(plain, library()), arrays), run(plain, arrays)) < 1e-5


def test_logits_in_the_hundreds_stay_finite_and_right() -> None:
    arrays = inputs(1, 200, 200, 64, size=8)
    logits = np.einsum("bqc,bkc->bqk", *arrays[:2]) / 8
    assert np.abs(logits).max() > 300
    # float32 knows a logit of 300 to 3e-5, which a softmax passes on.
    assert error(run(NativeAttention(1, 64, 0, library()), arrays), reference(arrays, 1, False)) < 2e-4


def test_rising_logits_rescale_what_was_summed_before() -> None:
    q, k, v, grad = inputs(1, 40, 500, 16)
    q = np.abs(q)
    k = np.repeat(np.linspace(0, 2, 500, dtype=np.float32)[None, :, None], 16, axis=2)
    cell = NativeAttention(1, 16, 0, library())
    assert error(run(cell, (q, k, v, grad)), reference((q, k, v, grad), 1, False)) < 5e-6


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_gradient_does_not_care_how_keys_are_shared_among_threads(threads: int) -> None:
    arrays = inputs(1, 200, 700, 64)
    cell = NativeAttention(1, 64, 0, library())
    cell.settings = ms.Tensor(np.array([1, 0, threads], np.int32))
    assert error(run(cell, arrays), reference(arrays, 1, False)) < 5e-6


def test_repeated_runs_are_equal_bit_for_bit() -> None:
    arrays = inputs(2, 300, 300, 3 * 64)
    cell = NativeAttention(3, 64, 0, library())
    for first, second in zip(run(cell, arrays), run(cell, arrays), strict=True):
        assert np.array_equal(first, second)


def test_memory_does_not_grow_with_the_square_of_the_tokens() -> None:
    def peak(tokens: int) -> float:
        def resident(field: str) -> float:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

        arrays = inputs(1, tokens, tokens, 64)
        Path("/proc/self/clear_refs").write_text("5")  # start the highest resident size anew
        before = resident("VmRSS")
        run(cell, arrays)
        return resident("VmHWM") - before

    cell = NativeAttention(1, 64, 0, library())
    peak(64)
    assert peak(5000) < 50  # MB; one matrix of 5000 x 5000 is 95


def test_float16_in_and_out_with_float32_between() -> None:
    arrays = tuple(x.astype(np.float16).astype(np.float32) for x in inputs(2, 150, 77, 2 * 40))
    found = run(NativeAttention(2, 40, 0, library()), arrays, ms.float16)
    assert all(x.dtype == np.float16 for x in found)
    assert error(found, reference(arrays, 2, False)) < 1e-3


def test_an_overflow_in_the_inputs_reaches_the_result() -> None:
    q, k, v, _ = inputs(1, 20, 20, 16)
    q[0, 3, 0] = np.nan
    out = NativeAttention(1, 16, 0, library())(ms.Tensor(q), ms.Tensor(k), ms.Tensor(v)).asnumpy()
    assert np.isnan(out[0, 3]).all()
    assert np.isfinite(np.delete(out, 3, axis=1)).all()


def test_an_empty_batch_gives_an_empty_result() -> None:
    nothing = ms.Tensor(np.zeros((0, 5, 32), np.float32))
    assert NativeAttention(2, 16, 0, library())(nothing, nothing, nothing).shape == (0, 5, 32)


def test_eager_mode_gives_the_same() -> None:
    q, k, v, grad = inputs(1, 50, 60, 2 * 16)
    cell = NativeAttention(2, 16, 0, library())
    compiled = run(cell, (q, k, v, grad))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        grads = ms.value_and_grad(Weighted(cell), (0, 1, 2), has_aux=True)
        (_, out), found = grads(*map(ms.Tensor, (q, k, v, grad)))
        eager = tuple(x.asnumpy() for x in (out, *found))
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
    assert error(eager, compiled) < 1e-6
