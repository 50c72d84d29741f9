"""The UNet's transformer: self-attention, cross-attention to the text, gated feed-forward."""

from __future__ import annotations

import mindspore as ms
from mindloom import cells
from mindloom.attention import Attention
from mindloom.cells import GroupNorm, LayerNorm
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.basic import Dense


class CrossAttention(nn.Cell):
    """Projections around the attention seam. Inputs: tokens ``[B, n, width]`` and context ``[B, m, context_dim]``."""

    def __init__(self, width: int, context_dim: int, head_dim: int) -> None:
        super().__init__()
        self.to_q = Dense(width, width, bias=False)
        self.to_k = Dense(context_dim, width, bias=False)
        self.to_v = Dense(context_dim, width, bias=False)
        self.to_out = nn.SequentialCell(Dense(width, width))
        self.attention = Attention(width // head_dim, head_dim)

    def construct(self, x: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        return self.to_out(self.attention(self.to_q(x), self.to_k(context), self.to_v(context)))


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

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.net(x)


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


class SpatialTransformer(nn.Cell):
    """Transformer blocks over the pixels of ``[B, channels, h, w]``, plus a shortcut (attention.py, ``use_linear``)."""

    def __init__(self, channels: int, depth: int, context_dim: int, head_dim: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = Dense(channels, channels)
        self.transformer_blocks = nn.CellList([TransformerBlock(channels, context_dim, head_dim) for _ in range(depth)])
        self.proj_out = Dense(channels, channels, std=0)
        self.reshape, self.transpose = P.Reshape(), P.Transpose()

    def construct(self, x: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        batch, channels, height, width = x.shape
        tokens = self.reshape(self.norm(x), (batch, channels, height * width))
        tokens = self.proj_in(self.transpose(tokens, (0, 2, 1)))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        tokens = self.transpose(self.proj_out(tokens), (0, 2, 1))
        return x + self.reshape(tokens, (batch, channels, height, width))
