"""SDXL's first text encoder, CLIP ViT-L/14, with the names of transformers' CLIPTextModel."""

from __future__ import annotations

import mindspore as ms
from mindloom.attention import Attention
from mindloom.cells import Dense, LayerNorm, QuickGELU
from mindspore import nn

from mindloom_sdxl.cells.basic import Embedding
from mindloom_sdxl.presets import TextConfig


class SelfAttention(nn.Cell):
    """Causal attention of tokens ``[B, length, width]`` to themselves."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, std = config.width, config.width**-0.5
        self.k_proj, self.v_proj = Dense(width, width, std=std), Dense(width, width, std=std)
        self.q_proj, self.out_proj = Dense(width, width, std=std), Dense(width, width, std=std)
        self.attention = Attention(config.heads, config.head_dim, causal=config.length)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.out_proj(self.attention(self.q_proj(x), self.k_proj(x), self.v_proj(x)))


class MLP(nn.Cell):
    """Feed-forward to four times the width and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.activation = QuickGELU()
        self.fc1 = Dense(width, 4 * width, std=(2 * width) ** -0.5)
        self.fc2 = Dense(4 * width, width, std=(4 * width) ** -0.5)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Cell):
    """Pre-norm transformer layer."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.layer_norm1 = LayerNorm(config.width)
        self.mlp = MLP(config.width)
        self.layer_norm2 = LayerNorm(config.width)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Cell):
    """Sum of token and position embedding."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = Embedding(config.vocabulary, config.width, config.token_std)
        self.position_embedding = Embedding(config.length, config.width, config.position_std)

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight


class Encoder(nn.Cell):
    """All layers but the last, whose output SDXL does not read; the checkpoint holds it nevertheless."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.layers = nn.CellList([EncoderLayer(config) for _ in range(config.layers)])
        self.used = config.layers - 1

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        for i in range(self.used):
            x = self.layers[i](x)
        return x


class TextTransformer(nn.Cell):
    """Embeddings and layers; the final norm is part of the checkpoint, not of what SDXL reads."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = LayerNorm(config.width)

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.encoder(self.embeddings(ids))


class CLIPText(nn.Cell):
    """Token ids ``[B, 77]`` -> ``hidden_states[-2]`` ``[B, 77, width]``, without final norm (Radford et al. 2021)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.text_model = TextTransformer(config)

    def construct(self, ids: ms.Tensor) -> ms.Tensor:
        return self.text_model(ids)
