"""Halving and doubling of feature maps, as the UNet and the VAE do it."""

from __future__ import annotations

import mindspore as ms
from mindloom.cells import Conv2d
from mindspore import nn
from mindspore import ops as P


class Downsample(nn.Cell):
    """The UNet's: a convolution of stride 2, padded on all sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = Conv2d(channels, channels, stride=2)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.op(x)


class EncoderDownsample(nn.Cell):
    """The VAE's: a convolution of stride 2, padded at the bottom and the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, stride=2, padding=(0, 1, 0, 1))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.conv(x)


class Upsample(nn.Cell):
    """Nearest neighbour to twice the size, then a convolution.

    Every column twice, then every row: exact, and needs neither the size beforehand nor a resize operator, whose
    choice differs between devices and jit levels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels)
        self.stack, self.concat, self.reshape = P.Stack(-1), P.Concat(-1), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        batch, channels, height, width = x.shape
        rows = self.reshape(self.stack((x, x)), (batch, channels, height, 2 * width))
        return self.conv(self.reshape(self.concat((rows, rows)), (batch, channels, 2 * height, 2 * width)))
