"""What the UNet is told about a sample: both text encoders and the micro-conditioning."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.clip import CLIPText
from mindloom_sdxl.cells.embedding import MicroConditioning
from mindloom_sdxl.cells.openclip import OpenCLIPText
from mindloom_sdxl.presets import Preset


class CLIPEmbedder(nn.Cell):
    """Holds the first encoder under the name it has on disk."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.transformer = CLIPText(preset.clip_l)

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.transformer(ids)


class OpenCLIPEmbedder(nn.Cell):
    """Holds the second encoder under the name it has on disk."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.model = OpenCLIPText(preset.clip_g)

    def construct(self, ids: ms.Tensor, eot_index: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        return self.model(ids, eot_index)


class Conditioner(nn.Cell):
    """Ids of both tokenizers and sizes -> the UNet's ``context`` and ``vector`` (Podell et al. 2023, section 2).

    - ids_l, ids_g: int32 ``[B, 77]``; eot_index: int32 ``[B]``, of ids_g; time_ids: ``[B, 6]``
    - context: ``[B, 77, width_l + width_g]``, the penultimate hidden states side by side
    - vector: ``[B, width_g + 6 * size_dim]``, the pooled text, then the sinusoids of the sizes

    Captions in n chunks have ids ``[B, n, 77]`` and eot_index ``[B, n]``: every chunk is encoded by itself, the context
    ``[B, 77 n, ...]`` holds one after the other, and the pooled text is that of the first.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.embedders = nn.CellList([CLIPEmbedder(preset), OpenCLIPEmbedder(preset)])
        self.sizes = MicroConditioning(preset.size_dim)
        self.concat, self.reshape = P.Concat(-1), P.Reshape()

    def chunk(self, ids_l: ms.Tensor, ids_g: ms.Tensor, eot_index: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        hidden_g, pooled = self.embedders[1](ids_g, eot_index)
        return self.concat((self.embedders[0](ids_l), hidden_g)), pooled

    def text(self, ids_l: ms.Tensor, ids_g: ms.Tensor, eot_index: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """The context, and the pooled text ``[B, width_g]``."""
        if ids_l.ndim == 2:
            return self.chunk(ids_l, ids_g, eot_index)
        batch, chunks, length = ids_l.shape
        rows = self.reshape(ids_l, (-1, length)), self.reshape(ids_g, (-1, length))
        context, pooled = self.chunk(*rows, self.reshape(eot_index, (-1,)))
        return self.reshape(context, (batch, chunks * length, -1)), self.reshape(pooled, (batch, chunks, -1))[:, 0]

    def construct(
        self, ids_l: ms.Tensor, ids_g: ms.Tensor, eot_index: ms.Tensor, time_ids: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:
        context, pooled = self.text(ids_l, ids_g, eot_index)
        return context, self.concat((pooled, self.sizes(time_ids).astype(pooled.dtype)))
