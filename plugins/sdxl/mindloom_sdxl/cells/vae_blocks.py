"""Building blocks of the VAE: residual block, attention block, and the middle that encoder and decoder share."""

from __future__ import annotations

import mindspore as ms
from mindloom.attention import Attention
from mindloom.cells import Conv2d, GroupNorm
from mindspore import nn
from mindspore import ops as P

EPS = 1e-6


class ResnetBlock(nn.Cell):
    """Two normalised convolutions plus a shortcut, ``[B, inputs, h, w]`` -> ``[B, outputs, h, w]``."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(groups, inputs, EPS, silu=True), Conv2d(inputs, outputs)
        self.norm2, self.conv2 = GroupNorm(groups, outputs, EPS, silu=True), Conv2d(outputs, outputs)
        self.project = inputs != outputs
        if self.project:
            self.nin_shortcut = Conv2d(inputs, outputs, kernel=1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        hidden = self.conv1(self.norm1(x))
        hidden = self.conv2(self.norm2(hidden))
        return hidden + (self.nin_shortcut(x) if self.project else x)


class AttnBlock(nn.Cell):
    """Self-attention with one head over the pixels of ``[B, channels, h, w]``, plus a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, EPS)
        self.q, self.k = Conv2d(channels, channels, kernel=1), Conv2d(channels, channels, kernel=1)
        self.v, self.proj_out = Conv2d(channels, channels, kernel=1), Conv2d(channels, channels, kernel=1)
        self.attention = Attention(1, channels)
        self.reshape, self.transpose = P.Reshape(), P.Transpose()

    def tokens(self, x: ms.Tensor) -> ms.Tensor:
        batch, channels, height, width = x.shape
        return self.transpose(self.reshape(x, (batch, channels, height * width)), (0, 2, 1))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        normed = self.norm(x)
        mixed = self.attention(self.tokens(self.q(normed)), self.tokens(self.k(normed)), self.tokens(self.v(normed)))
        return x + self.proj_out(self.reshape(self.transpose(mixed, (0, 2, 1)), x.shape))


class Middle(nn.Cell):
    """Residual, attention and residual block at the lowest resolution."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))
