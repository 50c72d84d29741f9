"""The training objective: how far the UNet's guess of the noise is from the noise."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .cells.model import SDXLModel
from .schedule import mixing


class Predict(nn.Cell):
    """The UNet in whatever dtype its parameters have, float32 outside.

    latents ``[B, 4, h, w]``, timesteps int32 ``[B]``, context ``[B, 77, c]``, vector ``[B, v]`` -> ε like the latents.
    """

    def __init__(self, model: SDXLModel) -> None:
        # No prefix: this cell borrows parameters, whose names are those on disk.
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, latents: ms.Tensor, timesteps: ms.Tensor, context: ms.Tensor, vector: ms.Tensor) -> ms.Tensor:
        unet = self.model.model.diffusion_model
        dtype = unet.input_blocks[0].cell_list[0].weight.dtype
        predicted = unet(latents.astype(dtype), timesteps, context.astype(dtype), vector.astype(dtype))
        return predicted.astype(ms.float32)


class DiffusionLoss(nn.Cell):
    """‖UNet(x_t, t, captions, sizes) - ε‖², mean over everything (Ho et al. 2020, equation 14).

    x_t = √ᾱ_t z + √(1 - ᾱ_t) ε, with z the VAE's sample times its scale. This is the objective of
    generative-models' ``StandardDiffusionLoss`` too: there σ⁻²‖D - x_0‖² = ‖F - ε‖², computed here without the detour.
    VAE and text encoders get no gradient. The VAE stays in float32: SDXL's overflows float16.
    """

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(auto_prefix=False)
        self.model, self.predict = model, Predict(model)
        self.scale = model.preset.vae.scale
        signal, noise = mixing()
        self.signal = ms.Tensor(signal.astype(np.float32))
        self.noise = ms.Tensor(noise.astype(np.float32))
        self.at, self.reshape, self.exp = ops.Gather(), ops.Reshape(), ops.Exp()
        self.stop, self.square, self.mean = ops.StopGradient(), ops.Square(), ops.ReduceMean()

    def latents(self, pixels: ms.Tensor, vae_noise: ms.Tensor) -> ms.Tensor:
        mean, logvar = self.model.first_stage_model(pixels.astype(ms.float32) / 127.5 - 1.0)
        return (mean + self.exp(0.5 * logvar) * vae_noise) * self.scale

    def construct(
        self,
        pixels: ms.Tensor,
        time_ids: ms.Tensor,
        ids_1: ms.Tensor,
        ids_2: ms.Tensor,
        eot_index: ms.Tensor,
        timesteps: ms.Tensor,
        noise: ms.Tensor,
        vae_noise: ms.Tensor,
    ) -> ms.Tensor:
        latents = self.stop(self.latents(pixels, vae_noise))
        context, vector = self.model.conditioner(ids_1, ids_2, eot_index, time_ids)
        signal = self.reshape(self.at(self.signal, timesteps, 0), (-1, 1, 1, 1))
        level = self.reshape(self.at(self.noise, timesteps, 0), (-1, 1, 1, 1))
        noisy = signal * latents + level * noise
        predicted = self.predict(noisy, timesteps, self.stop(context), self.stop(vector))
        return self.mean(self.square(predicted - noise))
