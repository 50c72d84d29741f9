"""The training objective: how far the UNet's answer is from its target, for pictures or for kept features."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from .cells.embedding import MicroConditioning
from .cells.model import SDXLModel
from .noising import EPSILON, Objective


class Predict(nn.Cell):
    """The UNet in whatever dtype its parameters have, float32 outside.

    latents ``[B, 4, h, w]``, timesteps int32 or float32 ``[B]``, context ``[B, n, c]``, vector ``[B, v]`` -> like the
    latents.
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


class DenoisingLoss(nn.Cell):
    """w ‖UNet(noisy latents, level, captions, sizes) - target‖², mean over everything.

    See ``noising`` for the targets. These are the objectives of generative-models' ``StandardDiffusionLoss`` too: there
    w(σ)‖D - x_0‖² = ‖F - target‖², computed here without the detour, in float32.
    """

    def __init__(self, model: SDXLModel, objective: Objective, stop_text: bool = True) -> None:
        super().__init__(auto_prefix=False)
        self.predict, self.noising = Predict(model), objective.cell()
        self.normalised, self.factor = bool(objective.latents_std), model.preset.vae.scale
        if self.normalised:
            self.shift, self.factor = map(ms.Tensor, objective.scaling(self.factor))
        self.weighted = objective.weights is not None
        if objective.weights is not None:
            self.weights = ms.Tensor(objective.weights.astype(np.float32))
        self.stop_text = stop_text
        self.sizes, self.concat = MicroConditioning(model.preset.size_dim), ops.Concat(-1)
        self.at, self.exp, self.stop = ops.Gather(), ops.Exp(), ops.StopGradient()
        self.square, self.mean = ops.Square(), ops.ReduceMean()

    def sampled(self, mean: ms.Tensor, logvar: ms.Tensor, vae_noise: ms.Tensor) -> ms.Tensor:
        """A sample of the VAE's posterior, in the UNet's scale."""
        latents = mean + self.exp(0.5 * logvar) * vae_noise
        if self.normalised:
            latents = latents - self.shift
        return latents * self.factor

    def error(
        self,
        latents: ms.Tensor,
        context: ms.Tensor,
        pooled: ms.Tensor,
        time_ids: ms.Tensor,
        levels: ms.Tensor,
        noise: ms.Tensor,
    ) -> ms.Tensor:
        if self.stop_text:
            context, pooled = self.stop(context), self.stop(pooled)
        noisy, target, timesteps = self.noising(self.stop(latents), levels, noise)
        vector = self.concat((pooled, self.sizes(time_ids).astype(pooled.dtype)))
        squares = self.square(self.predict(noisy, timesteps, context, vector) - target)
        if self.weighted:
            return self.mean(self.mean(squares, (1, 2, 3)) * self.at(self.weights, levels, 0))
        return self.mean(squares)


class PictureLoss(DenoisingLoss):
    """What the losses of pictures and captions share. The VAE gets no gradient, nor do text encoders unless they train.

    The VAE stays in float32: SDXL's overflows float16. The column ``timesteps`` holds σ for ``edm``.
    """

    def __init__(self, model: SDXLModel, objective: Objective = EPSILON, stop_text: bool = True) -> None:
        super().__init__(model, objective, stop_text)
        self.model = model

    def latents(self, pixels: ms.Tensor, vae_noise: ms.Tensor) -> ms.Tensor:
        mean, logvar = self.model.first_stage_model(pixels.astype(ms.float32) / 127.5 - 1.0)
        return self.sampled(mean, logvar, vae_noise)


class DiffusionLoss(PictureLoss):
    """The loss of pictures and captions."""

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
        context, pooled = self.model.conditioner.text(ids_1, ids_2, eot_index)
        return self.error(self.latents(pixels, vae_noise), context, pooled, time_ids, timesteps, noise)


class ZeroingLoss(PictureLoss):
    """The same, with one more column: told float32 ``[B]``, 0 for samples whose text is replaced by zeros, else 1."""

    def __init__(self, model: SDXLModel, objective: Objective = EPSILON, stop_text: bool = True) -> None:
        super().__init__(model, objective, stop_text)
        self.reshape = ops.Reshape()

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
        told: ms.Tensor,
    ) -> ms.Tensor:
        context, pooled = self.model.conditioner.text(ids_1, ids_2, eot_index)
        context = context * self.reshape(told, (-1, 1, 1)).astype(context.dtype)
        pooled = pooled * self.reshape(told, (-1, 1)).astype(pooled.dtype)
        return self.error(self.latents(pixels, vae_noise), context, pooled, time_ids, timesteps, noise)


class KeptLoss(DenoisingLoss):
    """The same loss of what VAE and text encoders made of pictures and captions earlier; it holds neither of them."""

    def __init__(self, model: SDXLModel, objective: Objective = EPSILON) -> None:
        super().__init__(model, objective)

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
        return self.error(self.sampled(mean, logvar, vae_noise), context, pooled, time_ids, timesteps, noise)
