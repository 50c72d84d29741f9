"""MindSpore operators around the entries of ``kernel/native.cc``, forward and backward, for float32."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom.kernels import threads
from mindspore import ops as P

Shape = tuple[int, ...]


def settings(*more: float) -> ms.Tensor:
    """The input that tells a kernel its threads, and what else it needs to know."""
    return ms.Tensor(np.array([threads(), *more], np.float32))


def first(x: Any, *others: Any) -> Any:
    """One output with the shape or dtype of the first input."""
    return x


def two(x: Any, *others: Any) -> tuple[Any, Any]:
    """Two such outputs."""
    return x, x


def _three(x: Any, weight: Any, bias: Any, *others: Any) -> tuple[Any, Any, Any]:
    return x, weight, bias


def _like_x(x: Any, *others: Any) -> tuple[Any, Any, Any]:
    return x, x, x


def _half(x: Shape, settings: Shape) -> Shape:
    return (*x[:-1], x[-1] // 2)


def _layer_norm(x: Shape, *others: Shape) -> tuple[Shape, Shape, Shape]:
    return x, x[:-1], x[:-1]


def _layer_norm_backward(x: Shape, weight: Shape, *others: Shape) -> tuple[Shape, Shape, Shape]:
    return x, weight, weight


@functools.cache
def unary(library: Path, name: str) -> P.Custom:
    """``(x, settings) -> y`` of an entry whose gradient needs x: gelu, quick_gelu, silu, geglu."""
    backward = P.Custom(f"{library}:{name}_backward", first, first, "aot")
    zeros = P.ZerosLike()

    def bprop(x, settings, y, dy):  # type: ignore[no-untyped-def]
        return backward(x, dy, settings), zeros(settings)

    return P.Custom(f"{library}:{name}", _half if name == "geglu" else first, first, "aot", bprop=bprop)


@functools.cache
def softmax(library: Path) -> P.Custom:
    """``(x, settings) -> y`` along the last axis."""
    backward = P.Custom(f"{library}:softmax_backward", first, first, "aot")
    zeros = P.ZerosLike()

    def bprop(x, settings, y, dy):  # type: ignore[no-untyped-def]
        return backward(y, dy, settings), zeros(settings)

    return P.Custom(f"{library}:softmax", first, first, "aot", bprop=bprop)


@functools.cache
def layer_norm(library: Path) -> P.Custom:
    """``(x, weight, bias, settings [threads, eps]) -> (y, mean, rstd)``."""
    backward = P.Custom(f"{library}:layer_norm_backward", _layer_norm_backward, _like_x, "aot")
    zeros = P.ZerosLike()

    def bprop(x, weight, bias, settings, outputs, grads):  # type: ignore[no-untyped-def]
        dx, dweight, dbias = backward(x, weight, outputs[1], outputs[2], grads[0], settings)
        return dx, dweight, dbias, zeros(settings)

    return P.Custom(f"{library}:layer_norm", _layer_norm, _like_x, "aot", bprop=bprop)


@functools.cache
def group_norm(library: Path, groups: int) -> P.Custom:
    """``(x, weight, bias, settings [threads, eps, groups, silu]) -> (y, mean, rstd)``."""

    def shapes(x: Shape, *others: Shape) -> tuple[Shape, Shape, Shape]:
        return x, (x[0], groups), (x[0], groups)

    backward = P.Custom(f"{library}:group_norm_backward", _three, _like_x, "aot")
    zeros = P.ZerosLike()

    def bprop(x, weight, bias, settings, outputs, grads):  # type: ignore[no-untyped-def]
        dx, dweight, dbias = backward(x, weight, bias, outputs[1], outputs[2], grads[0], settings)
        return dx, dweight, dbias, zeros(settings)

    return P.Custom(f"{library}:group_norm", shapes, _like_x, "aot", bprop=bprop)


def _outputs(x: Shape, weight: Shape, *others: Shape) -> Shape:
    return (*x[:-1], weight[0])


def _inputs(dy: Shape, weight: Shape, settings: Shape) -> Shape:
    return (*dy[:-1], weight[1])


def _weights(dy: Shape, x: Shape, settings: Shape) -> Shape:
    return dy[-1], x[-1]


def _weights_and_bias(dy: Shape, x: Shape, settings: Shape) -> tuple[Shape, Shape]:
    return (dy[-1], x[-1]), (dy[-1],)


@functools.cache
def copy(library: Path) -> P.Custom:
    """``x -> x`` in memory of its own, which no pass of the compiler takes for nothing."""

    def bprop(x, y, dy):  # type: ignore[no-untyped-def]
        return (dy,)

    return P.Custom(f"{library}:copy", first, first, "aot", bprop=bprop)


@functools.cache
def linear_inputs(library: Path) -> P.Custom:
    """``(dy [..., out], weight [out, in], settings) -> dx [..., in]``: a linear layer's gradient of its input."""
    return P.Custom(f"{library}:linear_inputs", _inputs, first, "aot")


@functools.cache
def linear(library: Path) -> P.Custom:
    """``(x [..., in], weight [out, in], settings) -> y [..., out]``."""
    inputs = linear_inputs(library)
    weights = P.Custom(f"{library}:linear_weights", _weights, first, "aot")
    zeros = P.ZerosLike()

    def bprop(x, weight, settings, y, dy):  # type: ignore[no-untyped-def]
        return inputs(dy, weight, settings), weights(dy, x, settings), zeros(settings)

    return P.Custom(f"{library}:linear", _outputs, first, "aot", bprop=bprop)


@functools.cache
def linear_bias(library: Path) -> P.Custom:
    """``(x [..., in], weight [out, in], bias [out], settings) -> y [..., out]``."""
    inputs = linear_inputs(library)
    weights = P.Custom(f"{library}:linear_weights", _weights_and_bias, two, "aot")
    zeros = P.ZerosLike()

    def bprop(x, weight, bias, settings, y, dy):  # type: ignore[no-untyped-def]
        dweight, dbias = weights(dy, x, settings)
        return inputs(dy, weight, settings), dweight, dbias, zeros(settings)

    return P.Custom(f"{library}:linear_bias", _outputs, first, "aot", bprop=bprop)


def _convolution_inputs(dy: Shape, weight: Shape, settings: Shape, x: Shape) -> Shape:
    return x


def _convolution_weights(dy: Shape, x: Shape, weight: Shape, settings: Shape) -> tuple[Shape, Shape]:
    return weight, (weight[0],)


@functools.cache
def convolution(library: Path, stride: int, padding: tuple[int, int, int, int]) -> P.Custom:
    """``(x, weight, bias, settings [threads, stride, top, left]) -> y``; padding is (top, bottom, left, right).

    Raises, when a graph is compiled:
        ValueError: if x has other channels than the weight, or is smaller than the kernel.
    """
    inputs = P.Custom(f"{library}:convolution_inputs", _convolution_inputs, first, "aot")
    weights = P.Custom(f"{library}:convolution_weights", _convolution_weights, two, "aot")
    zeros = P.ZerosLike()

    def shapes(x: Shape, weight: Shape, *others: Shape) -> Shape:
        top, bottom, left, right = padding
        height, width = x[2] + top + bottom - weight[2], x[3] + left + right - weight[3]
        if x[1] != weight[1] or min(height, width) < 0:
            raise ValueError(f"a convolution with weight {weight} and padding {padding} cannot take x {x}")
        return x[0], weight[0], height // stride + 1, width // stride + 1

    def bprop(x, weight, bias, settings, y, dy):  # type: ignore[no-untyped-def]
        dweight, dbias = weights(dy, x, weight, settings)
        return inputs(dy, weight, settings, x), dweight, dbias, zeros(settings)

    return P.Custom(f"{library}:convolution", shapes, first, "aot", bprop=bprop)
