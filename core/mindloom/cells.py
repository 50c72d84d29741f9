"""The seam for small cells that plugins may claim: linear layers, convolutions, norms, activations, softmax.

A model builds its layers from these; a plugin finds them by their class, takes over their parameters (``weight`` and
``bias``, where they have any) and computes the same. They are written with primitives, which compile faster than
functions.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P
from mindspore.ops import auto_generate

from .initial import fan_in, normal, ones, zeros


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
        self.bias = zeros(outputs) if bias else None
        self.matmul, self.add, self.reshape = P.MatMul(transpose_b=True), P.BiasAdd(), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        # Affine's lines once more: each cell in between costs the compiler time, and there are hundreds of these.
        product = self.matmul(self.reshape(x, (-1, x.shape[-1])), self.weight)
        if self.bias is not None:
            product = self.add(product, self.bias)
        return self.reshape(product, (*x.shape[:-1], self.weight.shape[0]))


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
        self.stride, self.padding = stride, (pad,) * 4 if isinstance(pad, int) else pad
        self.conv = P.Conv2D(outputs, kernel, pad_mode="pad", pad=pad, stride=stride)
        self.add = P.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.add(self.conv(x, self.weight), self.bias)


class LayerNorm(nn.Cell):
    """Normalise the last axis, which has ``width`` elements (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = ones(width), zeros(width)
        self.eps = eps
        self.norm = P.LayerNorm(-1, -1, eps)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        normed, _, _ = self.norm(x, self.weight, self.bias)
        return normed


class GroupNorm(nn.Cell):
    """Normalise groups of channels of NCHW (Wu and He 2018); with ``silu``, the result passes through SiLU, too."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, silu: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = ones(channels), zeros(channels)
        self.groups, self.eps, self.silu = groups, eps, silu
        self.norm, self.activation = auto_generate.GroupNorm(), auto_generate.SiLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        normed, _, _ = self.norm(x, self.groups, self.weight, self.bias, self.eps)
        if self.silu:
            normed = self.activation(normed)
        return normed


class SiLU(nn.Cell):
    """x σ(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.silu = auto_generate.SiLU()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.silu(x)


class GELU(nn.Cell):
    """x Φ(x) with the exact normal distribution (Hendrycks and Gimpel 2016), not its tanh approximation."""

    def __init__(self) -> None:
        super().__init__()
        self.erf = P.Erf()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x * (self.erf(x * 0.7071067811865476) * 0.5 + 0.5)


class QuickGELU(nn.Cell):
    """x σ(1.702 x), what OpenAI trained CLIP with."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = P.Sigmoid()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x * self.sigmoid(x * 1.702)


class GEGLU(nn.Cell):
    """``[..., 2 n]`` -> ``[..., n]``: the first half of the last axis times GELU of the second (Shazeer 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.erf, self.split = P.Erf(), P.Split(-1, 2)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        value, gate = self.split(x)
        return value * (gate * (self.erf(gate * 0.7071067811865476) * 0.5 + 0.5))


class Softmax(nn.Cell):
    """exp(x) over its sum along the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = P.Softmax(-1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.softmax(x)
