"""The training objective: how far the UNet's guess of the noise is from the noise."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .cells.embedding import MicroConditioning
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


class NoiseLoss(nn.Cell):
    """‖UNet(x_t, t, captions, sizes) - ε‖², mean over everything (Ho et al. 2020, equation 14).

    x_t = √ᾱ_t z + √(1 - ᾱ_t) ε, with z the VAE's sample times its scale. This is the objective of
    generative-models' ``StandardDiffusionLoss`` too: there σ⁻²‖D - x_0‖² = ‖F - ε‖², computed here without the detour.
    """

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(auto_prefix=False)
        self.predict = Predict(model)
        self.scale = model.preset.vae.scale
        signal, noise = mixing()
        self.signal = ms.Tensor(signal.astype(np.float32))
        self.noise = ms.Tensor(noise.astype(np.float32))
        self.at, self.reshape, self.exp = ops.Gather(), ops.Reshape(), ops.Exp()
        self.stop, self.square, self.mean = ops.StopGradient(), ops.Square(), ops.ReduceMean()

    def sampled(self, mean: ms.Tensor, logvar: ms.Tensor, vae_noise: ms.Tensor) -> ms.Tensor:
        """A sample of the VAE's posterior, in the UNet's scale."""
        return (mean + self.exp(0.5 * logvar) * vae_noise) * self.scale

    def error(
        self, latents: ms.Tensor, context: ms.Tensor, vector: ms.Tensor, timesteps: ms.Tensor, noise: ms.Tensor
    ) -> ms.Tensor:
        signal = self.reshape(self.at(self.signal, timesteps, 0), (-1, 1, 1, 1))
        level = self.reshape(self.at(self.noise, timesteps, 0), (-1, 1, 1, 1))
        noisy = signal * self.stop(latents) + level * noise
        predicted = self.predict(noisy, timesteps, self.stop(context), self.stop(vector))
        return self.mean(self.square(predicted - noise))


class DiffusionLoss(NoiseLoss):
    """The loss of pictures and captions. VAE and text encoders get no gradient.

    The VAE stays in float32: SDXL's overflows float16.
    """

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(model)
        self.model = model

    def latents(self, pixels: ms.Tensor, vae_noise: ms.Tensor) -> ms.Tensor:
        mean, logvar = self.model.first_stage_model(pixels.astype(ms.float32) / 127.5 - 1.0)
        return self.sampled(mean, logvar, vae_noise)

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
        context, vector = self.model.conditioner(ids_1, ids_2, eot_index, time_ids)
        return self.error(self.latents(pixels, vae_noise), context, vector, timesteps, noise)


class KeptLoss(NoiseLoss):
    """The same loss of what VAE and text encoders made of pictures and captions earlier; it holds neither of them."""

    def __init__(self, model: SDXLModel) -> None:
        super().__init__(model)
        self.sizes, self.concat = MicroConditioning(model.preset.size_dim), ops.Concat(-1)

    def construct(
        self,
        mean: ms.Tensor,
        logvar: ms.Tensor,
        context: ms.Tensor,
        pooled: ms.Tensor,
        time_ids: ms.Tensor,
        timesteps: ms.Tensor,
        noise: ms.Tensor,
        vae_noise: ms.Tensor,
    ) -> ms.Tensor:
        vector = self.concat((pooled, self.sizes(time_ids)))
        return self.error(self.sampled(mean, logvar, vae_noise), context, vector, timesteps, noise)
