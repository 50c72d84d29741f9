"""Each kind of block against its counterpart: output, gradients of its inputs and of all its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from .gradients import numbered, run_mindspore, run_torch
from .pairing import cell_of, pair
from .reference import PRESET, normal, torch
from .trail import assert_same

TRANSFORMER = "input_blocks.3.1"
BLOCK = f"{TRANSFORMER}.transformer_blocks.0"
EMBEDDING, CONTEXT = (2, PRESET.unet.embedding_dim), (2, 7, PRESET.unet.context_dim)
WIDTH = PRESET.clip_l.width
HIDDEN = torch.full((1, 1, 77, 77), -torch.inf).triu(1)
Call = Callable[..., Any]


class Told(nn.Cell):
    """A residual block behind the SiLU that our UNet computes once for all of them."""

    def __init__(self, block: nn.Cell, silu: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.block, self.silu = block, silu

    def construct(self, x: ms.Tensor, embedding: ms.Tensor) -> ms.Tensor:
        return self.block(x, self.silu(embedding))


def plain(block: Any, *inputs: Any) -> Any:
    return block(*inputs)


def untold(block: Any, x: Any) -> Any:
    """The VAE knows no timesteps."""
    return block(x, None)


def attended(block: Any, x: Any, context: Any) -> Any:
    found = block(x, encoder_hidden_states=context)
    return getattr(found, "sample", found)


def causal(layer: Any, x: Any) -> Any:
    return layer(x, attention_mask=HIDDEN)


KINDS: dict[str, tuple[str, str, list[tuple[int, ...]], Call]] = {
    "residual": ("unet", "input_blocks.1.0", [(2, 32, 6, 4), EMBEDDING], plain),
    "residual that widens": ("unet", "input_blocks.3.0", [(2, 32, 6, 4), EMBEDDING], plain),
    "residual with skip": ("unet", "output_blocks.3.0", [(2, 96, 6, 4), EMBEDDING], plain),
    "down": ("unet", "input_blocks.2.0", [(2, 32, 6, 4)], plain),
    "up": ("unet", "output_blocks.1.2", [(2, 96, 3, 2)], plain),
    "spatial transformer": ("unet", TRANSFORMER, [(2, 64, 3, 2), CONTEXT], attended),
    "transformer": ("unet", BLOCK, [(2, 6, 64), CONTEXT], attended),
    "self-attention": ("unet", f"{BLOCK}.attn1", [(2, 6, 64), (2, 6, 64)], attended),
    "cross-attention": ("unet", f"{BLOCK}.attn2", [(2, 6, 64), CONTEXT], attended),
    "GEGLU": ("unet", f"{BLOCK}.ff.net.0", [(2, 6, 64)], plain),
    "feed-forward": ("unet", f"{BLOCK}.ff", [(2, 6, 64)], plain),
    "VAE residual": ("vae", "decoder.up.0.block.0", [(2, 24, 6, 4)], untold),
    "VAE attention": ("vae", "encoder.mid.attn_1", [(2, 64, 3, 2)], plain),
    "VAE middle": ("vae", "decoder.mid", [(2, 64, 3, 2)], plain),
    "VAE down": ("vae", "encoder.down.1.downsample", [(2, 24, 6, 4)], plain),
    "VAE up": ("vae", "decoder.up.1.upsample", [(2, 24, 3, 2)], plain),
    "VAE encoder level": ("vae", "encoder.down.1", [(2, 8, 6, 4)], plain),
    "VAE decoder level": ("vae", "decoder.up.1", [(2, 48, 3, 2)], plain),
    "CLIP layer": ("text_encoder", "text_model.encoder.layers.1", [(2, 77, WIDTH)], causal),
    "OpenCLIP layer": ("text_encoder_2", "transformer.resblocks.1", [(2, 77, WIDTH)], causal),
}
"""Part, path of our cell, shapes of its inputs, and how the reference's block is called."""


@pytest.mark.parametrize("kind", KINDS)
def test_block_equals_the_references(model: Any, pipe: Any, eager: None, kind: str) -> None:
    name, path, shapes, call = KINDS[kind]
    part = pair(model, pipe, name)
    ours, (other,) = cell_of(part.ours, path), part.paths[path]
    theirs = part.theirs.get_submodule(other)
    # Small features, so that the epsilon of a norm counts; or large ones, so that a GELU is no straight line.
    scale = 10.0 if kind in ("GEGLU", "feed-forward") else 0.05
    inputs = [normal(i, *shape, scale=scale) for i, shape in enumerate(shapes)]
    net = Told(ours, part.ours.silu) if kind.startswith("residual") else ours
    shape = net(*map(ms.Tensor, inputs)).shape
    weights = [normal(9, *shape)]
    outputs, of_inputs, gradients = run_mindspore(net, ours, inputs, weights)
    expected, of_inputs_expected, gradients_expected = run_torch(
        lambda *given: (call(theirs, *given),), theirs, inputs, weights
    )
    renamed = part.renamed({f"{path}.{own}": value for own, value in gradients.items()})
    found = {name.removeprefix(f"{other}."): value for name, value in renamed.items()}
    assert_same(numbered("output", outputs), numbered("output", expected), f"block {kind}: output")
    assert_same(dict(reversed(found.items())), gradients_expected, f"block {kind}: gradients of parameters")
    inputs_found, inputs_expected = numbered("input", of_inputs), numbered("input", of_inputs_expected)
    assert_same(inputs_found, inputs_expected, f"block {kind}: gradients of inputs")
    assert all(np.abs(value).max() > 0 for value in gradients_expected.values()), "nothing was compared"
