"""Convolution and embedding table, with parameters named `weight` and `bias`."""

from __future__ import annotations

import mindspore as ms
from mindloom.initial import fan_in, normal, zeros
from mindspore import nn
from mindspore import ops as P


class Conv2d(nn.Cell):
    """Convolution of NCHW; weight ``[out, in, kernel, kernel]``.

    ``padding`` is one number or (top, bottom, left, right), by default what keeps the size. ``zero`` makes a layer that
    starts without a say.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int | tuple[int, int, int, int] | None = None,
        zero: bool = False,
    ) -> None:
        super().__init__()
        shape = (outputs, inputs, kernel, kernel)
        self.weight = zeros(*shape) if zero else fan_in(*shape)
        self.bias = zeros(outputs)
        pad = kernel // 2 if padding is None else padding
        self.conv = P.Conv2D(outputs, kernel, pad_mode="pad", pad=pad, stride=stride)
        self.add = P.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.add(self.conv(x, self.weight), self.bias)


class Embedding(nn.Cell):
    """Rows of ``weight [rows, width]``, drawn from N(0, std²)."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = normal(std, rows, width)
        self.gather = P.Gather()

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.gather(self.weight, ids, 0)
