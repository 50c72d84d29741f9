"""The fused kernel's graph, as far as it can be checked without the device: parsed, inferred and differentiated.

The CPU build knows the operator but has no kernel for it, so a correct graph fails at kernel selection, and a wrong one
before that.
"""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindloom.attention import Attention
from mindloom_flash_attn.ascend import AscendAttention, limit
from mindspore import nn

ms.set_device("CPU")  # before the first operation; later runs in this process cannot do it any more


@pytest.fixture(autouse=True)
def _graph_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    monkeypatch.chdir(tmp_path)  # a failed compilation leaves files in the working folder


def compile_gradient(cell: nn.Cell, width: int, queries: int, keys: int, dtype: ms.dtype) -> None:
    def loss(q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        return cell(q, k, v).astype(ms.float32).sum()

    q, k = (ms.Tensor(np.zeros((1, tokens, width)), dtype) for tokens in (queries, keys))
    ms.jit(ms.grad(loss, (0, 1, 2)))(q, k, k)


SELECTION = r"FlashAttentionScore(Grad)?\]? on CPU|Unsupported op \[FlashAttentionScore"


@pytest.mark.parametrize(
    ("heads", "head_dim", "causal", "queries", "keys"),
    [(10, 64, 0, 128, 128), (10, 64, 0, 128, 77), (12, 64, 77, 77, 77), (1, 512, 0, 64, 64), (1, 16, 2100, 2100, 2100)],
)
def test_a_correct_graph_gets_as_far_as_kernel_selection(
    heads: int, head_dim: int, causal: int, queries: int, keys: int
) -> None:
    cell = AscendAttention(heads, head_dim, causal, cast=False)
    with pytest.raises(Exception, match=SELECTION):
        compile_gradient(cell, heads * head_dim, queries, keys, ms.float16)


def test_a_wrong_number_of_heads_fails_before() -> None:
    with pytest.raises(Exception, match=r"FlashAttentionScore") as failure:
        compile_gradient(AscendAttention(3, 64, 0, cast=False), 128, 64, 64, ms.float16)
    assert "Unsupported op" not in str(failure.value)


def test_float32_is_cast_when_wanted() -> None:
    with pytest.raises(Exception, match=SELECTION):
        compile_gradient(AscendAttention(2, 64, 0, cast=True), 128, 64, 64, ms.float32)


def test_float32_stays_plain_otherwise() -> None:
    q = ms.Tensor(np.random.default_rng(0).standard_normal((1, 20, 32)).astype(np.float32))
    plain = Attention(2, 16)
    assert np.array_equal(AscendAttention.like(plain, cast=False)(q, q, q).asnumpy(), plain(q, q, q).asnumpy())


def test_the_documented_limits() -> None:
    assert not limit(10, 64)
    assert not limit(1, 512)
    assert "multiple of 16" in limit(10, 40)
    assert "more than 512" in limit(1, 1024)
    assert "heads" in limit(257, 64)
