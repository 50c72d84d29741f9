"""The embedding table."""

from __future__ import annotations

import mindspore as ms
from mindloom.initial import normal
from mindspore import nn
from mindspore import ops as P


class Embedding(nn.Cell):
    """Rows of ``weight [rows, width]``, drawn from N(0, std²)."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = normal(std, rows, width)
        self.gather = P.Gather()

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.gather(self.weight, ids, 0)
