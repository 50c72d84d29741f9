"""The activation functions of SDXL: SiLU in the UNet and VAE, GELU in transformers, quick GELU in CLIP ViT-L."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P
from mindspore.ops import auto_generate


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
