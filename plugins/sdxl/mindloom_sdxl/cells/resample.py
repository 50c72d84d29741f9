"""Halving and doubling of feature maps, as the UNet and the VAE do it."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore.ops import auto_generate

from mindloom_sdxl.cells.basic import Conv2d


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
    """Nearest neighbour to twice the size, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels)
        self.nearest = auto_generate.UpsampleNearest2D()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        _, _, height, width = x.shape
        return self.conv(self.nearest(x, (2 * height, 2 * width), None))
