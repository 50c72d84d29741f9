"""Both text encoders against transformers: outputs and every gradient, in float32."""

# ruff: noqa: E402  (what judges may be missing, and must be asked for before the helper imports it)

from __future__ import annotations

import dataclasses
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

pytest.importorskip("torch", reason="parity is judged by PyTorch")
transformers = pytest.importorskip("transformers", reason="parity is judged by transformers")

from mindloom_sdxl.cells.clip import CLIPText
from mindloom_sdxl.cells.init import fill_random
from mindloom_sdxl.cells.openclip import OpenCLIPText
from mindloom_sdxl.presets import TINY, TextConfig

from .parity_reference import arrays_of, assert_close, load_torch, numbered, openclip_arrays, run_mindspore, run_torch

BATCH = 2


class AsTuple(nn.Cell):
    def __init__(self, net: nn.Cell) -> None:
        super().__init__()
        self.net = net

    def construct(self, ids: ms.Tensor) -> tuple[ms.Tensor]:
        return (self.net(ids),)


def reference_config(config: TextConfig, activation: str) -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=4 * config.width,
        projection_dim=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.length,
        hidden_act=activation,
        bos_token_id=config.sot_id,
        eos_token_id=config.eot_id,
        pad_token_id=config.pad_id,
    )


def prompts(config: TextConfig) -> tuple[np.ndarray, np.ndarray]:
    """Ids with an end of text at different places, twice in the second row, and where the first is."""
    ids = np.random.default_rng(1).integers(0, config.sot_id, (BATCH, config.length)).astype(np.int32)
    eot_index = np.array([76, 5], np.int32)
    ids[0, 76] = ids[1, 5] = ids[1, 40] = config.eot_id
    return ids, eot_index


def weights_for(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    draw = np.random.default_rng(2)
    return [draw.normal(size=shape).astype(np.float32) for shape in shapes]


def test_first_encoder_equals_transformers_and_skips_its_last_layer() -> None:
    config = dataclasses.replace(TINY.clip_l, layers=3)
    ours = AsTuple(CLIPText(config))
    fill_random(ours)
    theirs = transformers.CLIPTextModel(reference_config(config, "quick_gelu"))
    # Newer transformers name the inner model's parameters without its prefix.
    prefix = "net." if hasattr(theirs, "text_model") else "net.text_model."
    load_torch(theirs, {name.removeprefix(prefix): value for name, value in arrays_of(ours).items()})
    ids, _ = prompts(config)
    weights = weights_for((BATCH, config.length, config.width))

    def call(tokens: Any) -> tuple[Any]:
        return (theirs(tokens.long(), output_hidden_states=True).hidden_states[-2],)

    outputs, _, gradients = run_mindspore(ours, [ids], weights)
    expected, _, gradients_expected = run_torch(call, theirs, [ids], weights)
    assert_close(numbered(outputs), numbered(expected), "output")
    found = {name.removeprefix(prefix): value for name, value in gradients.items()}
    assert_close(found, gradients_expected, "gradient of parameter")
    assert not any(value.any() for name, value in found.items() if "layers.2." in name)


def test_second_encoder_equals_transformers_in_hidden_states_and_pooled() -> None:
    config = TINY.clip_g
    ours = OpenCLIPText(config)
    fill_random(ours)
    theirs = transformers.CLIPTextModelWithProjection(reference_config(config, "gelu"))
    load_torch(theirs, openclip_arrays(arrays_of(ours)))
    ids, eot_index = prompts(config)
    weights = weights_for((BATCH, config.length, config.width), (BATCH, config.width))

    def call(tokens: Any, _: Any) -> tuple[Any, Any]:
        out = theirs(tokens.long(), output_hidden_states=True)
        return out.hidden_states[-2], out.text_embeds

    outputs, _, gradients = run_mindspore(ours, [ids, eot_index], weights)
    expected, _, gradients_expected = run_torch(call, theirs, [ids, eot_index], weights)
    assert_close(numbered(outputs), numbered(expected), "output")
    assert_close(openclip_arrays(gradients), gradients_expected, "gradient of parameter")
