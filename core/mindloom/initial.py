"""How fresh parameters are drawn; all are float32, whatever the run lowers them to later."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Parameter
from mindspore.common.initializer import Normal, Uniform, initializer


def ones(*shape: int) -> Parameter:
    return Parameter(initializer("ones", shape, ms.float32))


def zeros(*shape: int) -> Parameter:
    return Parameter(initializer("zeros", shape, ms.float32))


def fan_in(*shape: int) -> Parameter:
    """A weight ``[out, in, ...]`` drawn from U(-1/√fan, 1/√fan), PyTorch's default for linear and convolution."""
    return Parameter(initializer(Uniform(1 / math.sqrt(math.prod(shape[1:]))), shape, ms.float32))


def normal(std: float, *shape: int) -> Parameter:
    """Drawn from N(0, std²)."""
    return Parameter(initializer(Normal(std), shape, ms.float32))
