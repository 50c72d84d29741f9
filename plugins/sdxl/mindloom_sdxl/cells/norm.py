"""Layer and group normalisation, with parameters named `weight` and `bias`."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P
from mindspore.ops import auto_generate

from mindloom_sdxl.cells.init import constant


class LayerNorm(nn.Cell):
    """Normalise the last axis (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = constant(1, width), constant(0, width)
        self.norm = P.LayerNorm(-1, -1, eps)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        normed, _, _ = self.norm(x, self.weight, self.bias)
        return normed


class GroupNorm(nn.Cell):
    """Normalise groups of channels of NCHW (Wu and He 2018)."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = constant(1, channels), constant(0, channels)
        self.groups, self.eps = groups, eps
        self.norm = auto_generate.GroupNorm()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        normed, _, _ = self.norm(x, self.groups, self.weight, self.bias, self.eps)
        return normed
