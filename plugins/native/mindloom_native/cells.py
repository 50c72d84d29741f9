"""The cells of ``mindloom.cells`` on the compiled kernels. What is not float32 goes the plain way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
from mindloom import cells
from mindspore import nn

from .operators import convolution, group_norm, layer_norm, linear, linear_bias, settings, softmax, unary


class NativeUnary(nn.Cell):
    """One of the cells without parameters."""

    def __init__(self, plain: nn.Cell, operator: Any) -> None:
        super().__init__()
        self.plain, self.operator, self.settings = plain, operator, settings()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if x.dtype != ms.float32:
            return self.plain(x)
        return self.operator(x, self.settings)


class NativeLayerNorm(cells.LayerNorm):
    """:class:`mindloom.cells.LayerNorm` with the same parameters."""

    def __init__(self, plain: cells.LayerNorm, library: Path) -> None:
        super().__init__(plain.weight.shape[0], plain.eps)
        self.weight, self.bias = plain.weight, plain.bias
        self.operator, self.settings = layer_norm(library), settings(plain.eps)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if x.dtype != ms.float32 or self.weight.dtype != ms.float32:
            normed, _, _ = self.norm(x, self.weight, self.bias)
        else:
            normed, _, _ = self.operator(x, self.weight, self.bias, self.settings)
        return normed


class NativeGroupNorm(cells.GroupNorm):
    """:class:`mindloom.cells.GroupNorm` with the same parameters, SiLU in the same pass."""

    def __init__(self, plain: cells.GroupNorm, library: Path) -> None:
        super().__init__(plain.groups, plain.weight.shape[0], plain.eps, plain.silu)
        self.weight, self.bias = plain.weight, plain.bias
        self.operator = group_norm(library, plain.groups)
        self.settings = settings(plain.eps, plain.groups, float(plain.silu))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if x.dtype != ms.float32 or self.weight.dtype != ms.float32:
            normed, _, _ = self.norm(x, self.groups, self.weight, self.bias, self.eps)
            if self.silu:
                normed = self.activation(normed)
        else:
            normed, _, _ = self.operator(x, self.weight, self.bias, self.settings)
        return normed


class NativeAffine(cells.Affine):
    """:class:`mindloom.cells.Affine` in one node forward and two backward, either of which may be left out."""

    def __init__(self, plain: cells.Affine, library: Path) -> None:
        super().__init__()
        self.plain = plain
        self.operator, self.with_bias, self.settings = linear(library), linear_bias(library), settings()

    def construct(self, x: ms.Tensor, weight: ms.Tensor, bias: ms.Tensor | None) -> ms.Tensor:
        if x.dtype != ms.float32 or weight.dtype != ms.float32:
            return self.plain(x, weight, bias)
        if bias is None:
            return self.operator(x, weight, self.settings)
        return self.with_bias(x, weight, bias, self.settings)


class NativeDense(nn.Cell):
    """:class:`mindloom.cells.Dense` with the same parameters, computed like :class:`NativeAffine`."""

    def __init__(self, plain: cells.Dense, library: Path) -> None:
        super().__init__()
        self.weight, self.bias, self.settings = plain.weight, plain.bias, settings()
        self.operator = linear(library) if plain.bias is None else linear_bias(library)
        self.plain = cells.Affine()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if x.dtype != ms.float32 or self.weight.dtype != ms.float32:
            return self.plain(x, self.weight, self.bias)
        if self.bias is None:
            return self.operator(x, self.weight, self.settings)
        return self.operator(x, self.weight, self.bias, self.settings)


class NativeConv2d(cells.Conv2d):
    """:class:`mindloom.cells.Conv2d` with the same parameters, its bias in the same pass, and little scratch memory."""

    def __init__(self, plain: cells.Conv2d, library: Path) -> None:
        nn.Cell.__init__(self)
        self.weight, self.bias, self.conv, self.add = plain.weight, plain.bias, plain.conv, plain.add
        self.stride, self.padding = plain.stride, plain.padding
        self.operator = convolution(library, plain.stride, plain.padding)
        self.settings = settings(plain.stride, plain.padding[0], plain.padding[2])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if x.dtype != ms.float32 or self.weight.dtype != ms.float32:
            return self.add(self.conv(x, self.weight), self.bias)
        return self.operator(x, self.weight, self.bias, self.settings)


Build = Callable[[Any, Path], nn.Cell]


def _unary(name: str) -> Build:
    return lambda plain, library: NativeUnary(plain, unary(library, name))


KINDS: dict[type[nn.Cell], Build] = {
    cells.Affine: NativeAffine,
    cells.Dense: NativeDense,
    cells.Conv2d: NativeConv2d,
    cells.LayerNorm: NativeLayerNorm,
    cells.GroupNorm: NativeGroupNorm,
    cells.GEGLU: _unary("geglu"),
    cells.GELU: _unary("gelu"),
    cells.QuickGELU: _unary("quick_gelu"),
    cells.SiLU: _unary("silu"),
    cells.Softmax: lambda plain, library: NativeUnary(plain, softmax(library)),
}
"""Which cells are claimed, and what takes their place."""
PRODUCTS = (cells.Affine, cells.Dense, cells.Conv2d)
"""Those that need oneDNN's matrix product."""


def native(plain: nn.Cell, library: Path) -> nn.Cell:
    """The cell that takes the place of one whose class is among :data:`KINDS`."""
    return KINDS[type(plain)](plain, library)
