"""The UNet and the micro-conditioning against diffusers: every tensor on the way, and every gradient."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from mindspore import ops as P

from .gradients import assert_same_gradients
from .pairing import Part, pair
from .reference import PRESET, normal, tensors, torch
from .trail import assert_same, of_mindspore

BATCH, SIDE, TOKENS = 2, 8, 7
TIME_IDS = np.array([[1024, 768, 0, 13, 1024, 1024], [333, 500, 7, 0, 128, 128]], np.float32)


class Whole(nn.Cell):
    """The UNet behind its micro-conditioning, with the pooled text as an input of its own, as diffusers has it."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.unet, self.sizes, self.concat = model.unet, model.conditioner.sizes, P.Concat(-1)

    def construct(
        self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, pooled: ms.Tensor, time_ids: ms.Tensor
    ) -> tuple[ms.Tensor]:
        return (self.unet(latents, timesteps, context, self.concat((pooled, self.sizes(time_ids)))),)


@pytest.fixture(scope="module")
def part(model: Any, pipe: Any) -> Part:
    return pair(model, pipe, "unet")


def inputs() -> list[np.ndarray]:
    width, pooled = PRESET.unet.context_dim, PRESET.clip_g.width
    return [
        normal(1, BATCH, 4, SIDE, SIDE, scale=0.1), np.array([3, 981], np.int32), normal(2, BATCH, TOKENS, width),
        normal(3, BATCH, pooled), TIME_IDS,
    ]  # fmt: skip


def call(theirs: Any, latents: Any, timesteps: Any, context: Any, pooled: Any, ids: Any) -> tuple[Any]:
    added = {"text_embeds": pooled, "time_ids": ids}
    return (theirs(latents, timesteps, context, added_cond_kwargs=added).sample,)


def test_every_tensor_on_the_way_equals_diffusers(part: Part, model: Any, eager: None) -> None:
    with part.trails() as (ours, theirs), torch.no_grad():
        (predicted,) = Whole(model)(*map(ms.Tensor, inputs()))
        (expected,) = call(part.theirs, *tensors(inputs()))
    assert_same({**ours, "prediction": of_mindspore(predicted)}, {**theirs, "prediction": expected.numpy()}, "UNet")
    # Embeddings, all residual and transformer blocks, down- and upsampling, and the layers inside them.
    assert len(ours) > 300
    # What is left out only holds such layers, which are called without it.
    assert {path.rpartition(".")[2] for path in part.paths if path not in ours} <= {"emb_layers", "to_out", "net"}


def test_outputs_and_gradients_equal_diffusers(part: Part, model: Any, graph: None) -> None:
    weights = [normal(4, BATCH, 4, SIDE, SIDE)]
    assert_same_gradients(part, Whole(model), lambda *given: call(part.theirs, *given), inputs(), weights)
