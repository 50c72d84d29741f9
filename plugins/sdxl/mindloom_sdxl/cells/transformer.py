"""The UNet's transformer: blocks of the core over the pixels, with the text as context."""

from __future__ import annotations

import mindspore as ms
from mindloom.cells import Dense, GroupNorm
from mindloom.transformer import TransformerBlock
from mindspore import nn
from mindspore import ops as P


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
