"""The UNet and the micro-conditioning against diffusers: outputs and every gradient, in float32."""

# ruff: noqa: E402  (what judges may be missing, and must be asked for before the helper imports it)

from __future__ import annotations

import dataclasses
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from mindspore import ops as P

pytest.importorskip("torch", reason="parity is judged by PyTorch")
diffusers = pytest.importorskip("diffusers", reason="parity is judged by diffusers")

from mindloom_sdxl.cells.embedding import MicroConditioning
from mindloom_sdxl.cells.init import fill_random
from mindloom_sdxl.cells.unet import UNet
from mindloom_sdxl.presets import TINY, UNetConfig

from .parity_reference import arrays_of, assert_close, load_torch, numbered, run_mindspore, run_torch, unet_arrays

BATCH, SIDE, TOKENS = 2, 8, 7


class Whole(nn.Cell):
    """The UNet behind its micro-conditioning, with the pooled text as an input of its own, as diffusers has it."""

    def __init__(self, config: UNetConfig, size_dim: int) -> None:
        super().__init__()
        self.unet, self.sizes, self.concat = UNet(config), MicroConditioning(size_dim), P.Concat(-1)

    def construct(
        self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, pooled: ms.Tensor, time_ids: ms.Tensor
    ) -> tuple[ms.Tensor]:
        return (self.unet(latents, timesteps, context, self.concat((pooled, self.sizes(time_ids)))),)


def reference(config: UNetConfig, size_dim: int) -> Any:
    widths = tuple(config.channels * mult for mult in config.mult)
    cross = [depth > 0 for depth in config.depths]
    return diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=widths,
        layers_per_block=config.res_blocks,
        down_block_types=tuple("CrossAttnDownBlock2D" if c else "DownBlock2D" for c in cross),
        up_block_types=tuple("CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(cross)),
        transformer_layers_per_block=tuple(max(1, depth) for depth in config.depths),
        # The name is a known misnomer: diffusers reads the number of heads here.
        attention_head_dim=tuple(width // config.head_dim for width in widths),
        cross_attention_dim=config.context_dim,
        norm_num_groups=config.groups,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=size_dim,
        projection_class_embeddings_input_dim=config.vector_dim,
    )


def test_unet_equals_diffusers_in_outputs_and_gradients() -> None:
    # Two blocks deep at the lowest level, so that depths differ as they do in the base model.
    config = dataclasses.replace(TINY.unet, depths=(0, 1, 2), middle_depth=2)
    ours = Whole(config, TINY.size_dim)
    # Small weights and latents make small features, so that a wrong epsilon in a norm is seen.
    fill_random(ours, scale=0.02)
    theirs = reference(config, TINY.size_dim)
    load_torch(theirs, unet_arrays(arrays_of(ours.unet), config.res_blocks))
    draw = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(np.float32)

    time_ids = np.array([[1024, 768, 0, 13, 1024, 1024], [333, 500, 7, 0, 128, 128]], np.int32)
    inputs = [
        0.1 * normal(BATCH, 4, SIDE, SIDE), np.array([3, 981], np.int32), normal(BATCH, TOKENS, config.context_dim),
        normal(BATCH, TINY.clip_g.width), time_ids,
    ]  # fmt: skip
    weights = [normal(BATCH, 4, SIDE, SIDE)]

    def call(latents: Any, timesteps: Any, context: Any, pooled: Any, ids: Any) -> tuple[Any]:
        added = {"text_embeds": pooled, "time_ids": ids}
        return (theirs(latents, timesteps, context, added_cond_kwargs=added).sample,)

    outputs, of_inputs, of_parameters = run_mindspore(ours, inputs, weights)
    expected, of_inputs_expected, of_parameters_expected = run_torch(call, theirs, inputs, weights)
    assert_close(numbered(outputs), numbered(expected), "output")
    assert_close(numbered(of_inputs), numbered(of_inputs_expected), "gradient of input")
    found = unet_arrays({name.removeprefix("unet."): g for name, g in of_parameters.items()}, config.res_blocks)
    assert_close(found, of_parameters_expected, "gradient of parameter")
