"""How fresh parameters are drawn, and a way to fill a network with random numbers."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore.common.initializer import Normal, Uniform, initializer


def fan_in(*shape: int) -> ms.Parameter:
    """A weight ``[out, in, ...]`` drawn from U(-1/√fan, 1/√fan), PyTorch's default for linear and convolution."""
    return ms.Parameter(initializer(Uniform(1 / math.sqrt(math.prod(shape[1:]))), shape, ms.float32))


def normal(std: float, *shape: int) -> ms.Parameter:
    return ms.Parameter(initializer(Normal(std), shape, ms.float32))


def constant(value: float, *shape: int) -> ms.Parameter:
    return ms.Parameter(initializer("ones" if value == 1 else "zeros", shape, ms.float32))


def fill_random(cell: nn.Cell, seed: int = 0, scale: float = 0.1) -> None:
    """Give every parameter its own numbers: norm weights around 1, all else around 0.

    Fresh networks hold zeros and ones at many places, so that a test on them proves little.
    """
    draw = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
        values = draw.normal(0, scale, parameter.shape).astype(np.float32)
        if parameter.ndim == 1 and parameter.name.endswith("weight"):
            values += 1
        parameter.set_data(ms.Tensor(values))
