"""Sinusoids of timesteps and of SDXL's micro-conditioning (sizes and crop)."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P


class Sinusoid(nn.Cell):
    """Numbers ``[n]`` -> float32 ``[n, dim]``: cos(x fᵢ) ‖ sin(x fᵢ) with fᵢ = 10000^(-i / (dim/2)).

    Frequencies of Vaswani et al. 2017; cosines first, as in generative-models' ``timestep_embedding``.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        frequencies = np.exp(-math.log(10000) * np.arange(half, dtype=np.float32) / half)
        self.frequencies = ms.Tensor(frequencies[None].astype(np.float32))
        self.reshape, self.cos, self.sin, self.concat = P.Reshape(), P.Cos(), P.Sin(), P.Concat(-1)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        angles = self.reshape(x, (-1, 1)).astype(ms.float32) * self.frequencies
        return self.concat((self.cos(angles), self.sin(angles)))


class MicroConditioning(nn.Cell):
    """``time_ids [B, 6]`` -> float32 ``[B, 6 * dim]`` (Podell et al. 2023, section 2.2).

    The six are original height and width, crop top and left, target height and width, all in pixels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sinusoid, self.reshape = Sinusoid(dim), P.Reshape()

    def construct(self, time_ids: ms.Tensor) -> ms.Tensor:
        return self.reshape(self.sinusoid(time_ids), (time_ids.shape[0], -1))
