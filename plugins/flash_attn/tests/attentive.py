"""A task with attention for the tests of this plugin: random tokens, mixed by one layer."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindloom.attention import Attention
from mindloom.testing.tokens import tokens
from mindspore import Parameter, nn
from mindspore import ops as P

TOKENS, HEADS, WIDTH = 20, 2, 32


class Model(nn.Cell):
    """Self-attention over ``[batch, TOKENS, WIDTH]`` with trained projections."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.weight = Parameter(ms.Tensor((rng.standard_normal((WIDTH, 3 * WIDTH)) / 4).astype(np.float32)))
        self.attention = Attention(HEADS, WIDTH // HEADS)
        self.matmul, self.split, self.reshape = P.MatMul(), P.Split(2, 3), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = self.matmul(self.reshape(x, (-1, WIDTH)), self.weight)
        q, k, v = self.split(self.reshape(mixed, (-1, TOKENS, 3 * WIDTH)))
        return self.attention(q, k, v)


Attentive = tokens(Model, TOKENS, WIDTH)
