"""SDXL's denoiser."""

from __future__ import annotations

import mindspore as ms
from mindloom.cells import Conv2d, Dense, GroupNorm, SiLU
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.embedding import Sinusoid
from mindloom_sdxl.cells.resample import Downsample, Upsample
from mindloom_sdxl.cells.resblock import ResBlock
from mindloom_sdxl.cells.transformer import SpatialTransformer
from mindloom_sdxl.presets import UNetConfig


class Block(nn.SequentialCell):
    """Layers in a row, each given what its kind reads: the embedding, the context, or the features alone."""

    def __init__(self, *layers: nn.Cell) -> None:
        super().__init__(*layers)
        # Plain numbers, because the graph compiler cannot ask a cell for its class.
        self.reads = tuple(
            "embedding" if isinstance(layer, ResBlock) else "context" if isinstance(layer, SpatialTransformer) else ""
            for layer in layers
        )

    def construct(self, x: ms.Tensor, embedding: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        for i in range(len(self.reads)):
            if self.reads[i] == "embedding":
                x = self.cell_list[i](x, embedding)
            elif self.reads[i] == "context":
                x = self.cell_list[i](x, context)
            else:
                x = self.cell_list[i](x)
        return x


class UNet(nn.Cell):
    """U-shaped network of residual and transformer blocks (Podell et al. 2023; openaimodel.py, ``UNetModel``).

    ``construct(latents [B, 4, h, w], timesteps [B], context [B, n, context_dim], vector [B, vector_dim])`` gives the
    prediction ``[B, 4, h, w]`` in the dtype of the latents. ``h`` and ``w`` must be multiples of 2^(levels - 1).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_dim
        self.sinusoid = Sinusoid(config.channels)
        self.time_embed = nn.SequentialCell(Dense(config.channels, width), SiLU(), Dense(width, width))
        self.label_emb = nn.SequentialCell(
            nn.SequentialCell(Dense(config.vector_dim, width), SiLU(), Dense(width, width))
        )
        self.silu, self.concat = SiLU(), P.Concat(1)
        self.input_blocks, skips = self._down()
        deepest = skips[-1]
        self.middle_block = Block(
            self._res(deepest, deepest), *self._attention(deepest, config.middle_depth), self._res(deepest, deepest)
        )
        self.output_blocks = self._up(skips)
        self.out = nn.SequentialCell(
            GroupNorm(config.groups, config.channels, silu=True),
            nn.Identity(),
            Conv2d(config.channels, config.out_channels, zero=True),
        )

    def _res(self, inputs: int, outputs: int) -> ResBlock:
        return ResBlock(inputs, outputs, self.config.embedding_dim, self.config.groups)

    def _attention(self, channels: int, depth: int) -> list[nn.Cell]:
        """The transformer of a level that has one, as a list to be unpacked."""
        config = self.config
        if not depth:
            return []
        return [SpatialTransformer(channels, depth, config.context_dim, config.head_dim, config.groups)]

    def _down(self) -> tuple[nn.CellList, list[int]]:
        """The left arm, and the channels that each of its blocks leaves for the right one."""
        config = self.config
        channels = config.channels
        blocks, skips = [Block(Conv2d(config.in_channels, channels))], [channels]
        for level, (mult, depth) in enumerate(zip(config.mult, config.depths, strict=True)):
            for _ in range(config.res_blocks):
                outputs = config.channels * mult
                blocks.append(Block(self._res(channels, outputs), *self._attention(outputs, depth)))
                channels = outputs
                skips.append(channels)
            if level < len(config.mult) - 1:
                blocks.append(Block(Downsample(channels)))
                skips.append(channels)
        return nn.CellList(blocks), skips

    def _up(self, skips: list[int]) -> nn.CellList:
        """The right arm; each of its blocks reads one of the left arm's features too, last one first."""
        config = self.config
        channels, left = skips[-1], list(skips)
        blocks = []
        for level in reversed(range(len(config.mult))):
            outputs = config.channels * config.mult[level]
            for i in range(config.res_blocks + 1):
                layers = [self._res(channels + left.pop(), outputs), *self._attention(outputs, config.depths[level])]
                if level > 0 and i == config.res_blocks:
                    layers.append(Upsample(outputs))
                blocks.append(Block(*layers))
                channels = outputs
        return nn.CellList(blocks)

    def construct(self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, vector: ms.Tensor) -> ms.Tensor:
        dtype = latents.dtype
        context = context.astype(dtype)
        embedding = self.time_embed(self.sinusoid(timesteps).astype(dtype)) + self.label_emb(vector.astype(dtype))
        embedding = self.silu(embedding)
        hidden, skips = latents, []
        for block in self.input_blocks:
            hidden = block(hidden, embedding, context)
            skips.append(hidden)
        hidden = self.middle_block(hidden, embedding, context)
        for i in range(len(self.output_blocks)):
            hidden = self.output_blocks[i](self.concat((hidden, skips[-1 - i])), embedding, context)
        return self.out(hidden)
