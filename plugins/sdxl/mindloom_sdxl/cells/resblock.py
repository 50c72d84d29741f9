"""The UNet's residual block."""

from __future__ import annotations

import mindspore as ms
from mindloom.cells import Conv2d, Dense, GroupNorm
from mindspore import nn
from mindspore import ops as P


class ResBlock(nn.Cell):
    """Two normalised convolutions around the time embedding, plus a shortcut (openaimodel.py, ``ResBlock``).

    Inputs: features ``[B, inputs, h, w]`` and the embedding ``[B, embedding]``, which the UNet has passed through SiLU
    once for all blocks. The identities hold the places of the reference's SiLU, which is part of our norm, and of its
    dropout, for the names' sake.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.in_layers = nn.SequentialCell(GroupNorm(groups, inputs, silu=True), nn.Identity(), Conv2d(inputs, outputs))
        self.emb_layers = nn.SequentialCell(nn.Identity(), Dense(embedding, outputs))
        self.out_layers = nn.SequentialCell(
            GroupNorm(groups, outputs, silu=True), nn.Identity(), nn.Identity(), Conv2d(outputs, outputs, zero=True)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else Conv2d(inputs, outputs, kernel=1)
        # Other names for those of them that compute, because each cell in between costs the compiler time.
        (self.norm1, _, self.conv1), (self.norm2, _, _, self.conv2) = self.in_layers, self.out_layers
        self.project, self.same = self.emb_layers[1], inputs == outputs
        self.shape, self.reshape = (-1, outputs, 1, 1), P.Reshape()

    def construct(self, x: ms.Tensor, embedding: ms.Tensor) -> ms.Tensor:
        hidden = self.conv1(self.norm1(x)) + self.reshape(self.project(embedding), self.shape)
        shortcut = x if self.same else self.skip_connection(x)
        return shortcut + self.conv2(self.norm2(hidden))
