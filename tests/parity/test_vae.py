"""The VAE against diffusers, both halves: every tensor on the way, and every gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from .gradients import assert_same_gradients
from .pairing import Part, pair
from .reference import PRESET, normal, tensors, torch
from .trail import assert_same, of_mindspore

CHANNELS = PRESET.vae.latent_channels
PICTURE, LATENT = (2, 3, 64, 48), (2, CHANNELS, 8, 6)
NAMES = ("mean", "logvar", "pixels")


class BothHalves(nn.Cell):
    def __init__(self, vae: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.vae = vae

    def construct(self, pixels: ms.Tensor, latents: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        mean, logvar = self.vae(pixels)
        return mean, logvar, self.vae.decode(latents)


@pytest.fixture(scope="module")
def part(model: Any, pipe: Any) -> Iterator[Part]:
    """Two channels of logvar lie beyond both ends of the clamp."""
    both = pair(model, pipe, "vae")
    before = pipe.vae.quant_conv.bias.detach().clone()
    bias = before.clone()
    bias[CHANNELS : CHANNELS + 2] = torch.tensor([40.0, -60.0])
    for values in (bias, before):
        pipe.vae.quant_conv.bias.data = values
        model.first_stage_model.quant_conv.bias.set_data(ms.Tensor(values.numpy()))
        if values is bias:
            yield both


def call(theirs: Any, pixels: Any, latents: Any) -> tuple[Any, Any, Any]:
    posterior = theirs.encode(pixels).latent_dist
    return posterior.mean, posterior.logvar, theirs.decode(latents).sample


def inputs() -> list[np.ndarray]:
    return [normal(1, *PICTURE), normal(2, *LATENT)]


def test_every_tensor_on_the_way_equals_diffusers(part: Part, eager: None) -> None:
    with part.trails() as (ours, theirs), torch.no_grad():
        outputs = map(of_mindspore, BothHalves(part.ours)(*map(ms.Tensor, inputs())))
        expected = (output.numpy() for output in call(part.theirs, *tensors(inputs())))
    ours |= zip(NAMES, outputs, strict=True)
    assert_same(ours, theirs | dict(zip(NAMES, expected, strict=True)), "VAE")
    assert len(ours) == len(part.paths) + len(NAMES) > 100
    assert (ours["logvar"].max(), ours["logvar"].min()) == (20, -30)


def test_outputs_and_gradients_equal_diffusers(part: Part, graph: None) -> None:
    weights = [normal(3, *LATENT), normal(4, *LATENT), normal(5, *PICTURE)]
    assert_same_gradients(part, BothHalves(part.ours), lambda *given: call(part.theirs, *given), inputs(), weights)
