"""Attention on Ascend through its fused kernel, within the limits that MindSpore documents for it."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindloom.attention import Attention
from mindspore.ops.operations.nn_ops import FlashAttentionScore

COMPRESSED = 2048
"""Side of the one mask that serves every length in sparse mode 2."""

ATTENTION_OUT = 3
"""Place of the result among the operator's outputs; the others are what its gradient needs."""


def limit(heads: int, head_dim: int) -> str:
    """Say what keeps such a cell from the kernel, or nothing.

    The limits are those of ``mindspore.ops.flash_attention_score``.
    """
    if head_dim % 16:
        return f"head_dim {head_dim} is not a multiple of 16"
    if head_dim > 512:
        return f"head_dim {head_dim} is more than 512"
    if heads > 256:
        return f"{heads} heads are more than 256"
    return ""


class AscendAttention(Attention):
    """:class:`mindloom.attention.Attention` that takes the fused kernel for float16 and bfloat16.

    The kernel has no float32. Such inputs stay with plain attention, or are computed in float16 with ``cast``.
    """

    def __init__(self, heads: int, head_dim: int, causal: int, cast: bool) -> None:
        super().__init__(heads, head_dim, causal)
        self.cast = cast
        long = causal > COMPRESSED
        self.flash = FlashAttentionScore(
            head_num=heads, scale_value=self.scale, input_layout="BSH", sparse_mode=2 if long else 0
        )
        # 1 hides a key. Up to 2048 tokens the full mask is as small as the compressed one.
        side = COMPRESSED if long else causal
        self.hidden = ms.Tensor(np.triu(np.ones((side, side), np.uint8), 1)) if causal else None

    @classmethod
    def like(cls, cell: Attention, cast: bool) -> AscendAttention:
        """Take the place of a cell."""
        return cls(cell.heads, cell.head_dim, cell.causal, cast)

    def fused(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        return self.flash(q, k, v, None, None, None, self.hidden, None, None, None)[ATTENTION_OUT]

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        if q.dtype == ms.float32:
            if not self.cast:
                return super().construct(q, k, v)
            half = self.fused(q.astype(ms.float16), k.astype(ms.float16), v.astype(ms.float16))
            return half.astype(ms.float32)
        return self.fused(q, k, v)
