"""Linear layer, convolution and embedding table, with parameters named `weight` and `bias`."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.init import constant, fan_in, normal


class Affine(nn.Cell):
    """``x Wᵀ + b`` over the last axis of ``x`` with weight ``[out, in]``, bias ``[out]`` or None.

    The operators of ``nn.Dense``: Ascend has them at every jit level, which is not said of the fused ``ops.Dense``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matmul, self.add, self.reshape = P.MatMul(transpose_b=True), P.BiasAdd(), P.Reshape()

    def construct(self, x: ms.Tensor, weight: ms.Tensor, bias: ms.Tensor | None) -> ms.Tensor:
        product = self.matmul(self.reshape(x, (-1, x.shape[-1])), weight)
        if bias is not None:
            product = self.add(product, bias)
        return self.reshape(product, (*x.shape[:-1], weight.shape[0]))


class Dense(nn.Cell):
    """Linear layer over the last axis; weight ``[out, in]``, drawn from N(0, std²) where ``std`` is given."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, std: float | None = None) -> None:
        super().__init__()
        self.weight = fan_in(outputs, inputs) if std is None else normal(std, outputs, inputs)
        self.bias = constant(0, outputs) if bias else None
        self.affine = Affine()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.affine(x, self.weight, self.bias)


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
        self.weight = constant(0, *shape) if zero else fan_in(*shape)
        self.bias = constant(0, outputs)
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
