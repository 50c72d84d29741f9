"""SDXL's second text encoder, OpenCLIP ViT-bigG/14, with the names of open_clip."""

from __future__ import annotations

import mindspore as ms
from mindloom.attention import Attention
from mindloom.cells import GELU, Affine, Dense, LayerNorm
from mindloom.initial import normal, ones, zeros
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.basic import Embedding
from mindloom_sdxl.presets import TextConfig


class PackedAttention(nn.Cell):
    """Causal self-attention of ``[B, length, width]`` with query, key and value projection in one matrix."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, std = config.width, config.width**-0.5
        self.in_proj_weight, self.in_proj_bias = normal(std, 3 * width, width), zeros(3 * width)
        self.out_proj = Dense(width, width, std=std)
        self.affine, self.split = Affine(), P.Split(-1, 3)
        self.attention = Attention(config.heads, config.head_dim, causal=config.length)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        q, k, v = self.split(self.affine(x, self.in_proj_weight, self.in_proj_bias))
        return self.out_proj(self.attention(q, k, v))


class MLP(nn.Cell):
    """Feed-forward to four times the width and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = Dense(width, 4 * width, std=(2 * width) ** -0.5)
        self.gelu = GELU()
        self.c_proj = Dense(4 * width, width, std=(4 * width) ** -0.5)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Cell):
    """Pre-norm transformer layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = LayerNorm(config.width), LayerNorm(config.width)
        self.attn, self.mlp = PackedAttention(config), MLP(config.width)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Cell):
    """The layers: gives the output of the last but one, and of the last."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.resblocks = nn.CellList([ResidualAttentionBlock(config) for _ in range(config.layers)])
        self.last = config.layers - 1

    def construct(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        for i in range(self.last):
            x = self.resblocks[i](x)
        return x, self.resblocks[self.last](x)


class OpenCLIPText(nn.Cell):
    """Ids ``[B, 77]`` and ``eot_index [B]`` -> ``hidden_states[-2]`` ``[B, 77, width]`` and pooled ``[B, width]``.

    ``eot_index`` (int32) is the position of the first end-of-text token. The tokenizer knows it, so it comes from the
    host; open_clip's own argmax of the ids finds the same one, but only while that token has the highest id.
    pooled = ln_final(last hidden state at eot_index) @ text_projection (Ilharco et al. 2021).
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.width
        self.transformer = Transformer(config)
        self.token_embedding = Embedding(config.vocabulary, width, config.token_std)
        self.positional_embedding = normal(config.position_std, config.length, width)
        self.ln_final = LayerNorm(width)
        self.text_projection = normal(width**-0.5, width, width)
        # The temperature of CLIP's contrastive loss: in the checkpoint, not in any output.
        self.logit_scale = ones()
        self.at_eot, self.matmul = P.Gather(batch_dims=1), P.MatMul()

    def construct(self, ids: ms.Tensor, eot_index: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        hidden, last = self.transformer(self.token_embedding(ids) + self.positional_embedding)
        return hidden, self.matmul(self.ln_final(self.at_eot(last, eot_index, 1)), self.text_projection)
