"""A transformer block, as a seam: other implementations may claim it whole, or the cells that it is made of.

Pre-norm: self-attention, cross-attention to a context, gated feed-forward (Vaswani et al. 2017; Shazeer 2020 for the
gate). Parameters have the names that public checkpoints of such blocks have.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from . import cells
from .attention import Attention
from .cells import Dense, LayerNorm


class CrossAttention(nn.Cell):
    """Projections around the attention seam. Inputs: tokens ``[B, n, width]`` and context ``[B, m, context_dim]``."""

    def __init__(self, width: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.to_q = Dense(width, width, bias=False)
        self.to_k = Dense(context_dim, width, bias=False)
        self.to_v = Dense(context_dim, width, bias=False)
        self.to_out = nn.SequentialCell(Dense(width, width))
        self.out = self.to_out[0]  # by another name, because every cell in between costs the compiler time
        self.attention = Attention(width // head_dim, head_dim)

    def construct(self, x: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        return self.out(self.attention(self.to_q(x), self.to_k(context), self.to_v(context)))


class GEGLU(nn.Cell):
    """(xW + b) ⊙ GELU(xV + c), both products in one matrix (Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj, self.gate = Dense(width, 2 * inner), cells.GEGLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.gate(self.proj(x))


class FeedForward(nn.Cell):
    """GEGLU to four times the width and back; the identity holds the place of the reference's dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.SequentialCell(GEGLU(width, 4 * width), nn.Identity(), Dense(4 * width, width))
        self.wide, _, self.narrow = self.net

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.narrow(self.wide(x))


class TransformerBlock(nn.Cell):
    """Pre-norm block: ``x`` attends to itself, then to the context, then passes the feed-forward."""

    def __init__(self, width: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(width, width, head_dim)
        self.ff = FeedForward(width)
        self.attn2 = CrossAttention(width, context_dim, head_dim)
        self.norm1, self.norm2, self.norm3 = LayerNorm(width), LayerNorm(width), LayerNorm(width)

    def construct(self, x: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))
