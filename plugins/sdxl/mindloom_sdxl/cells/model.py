"""All of SDXL in one cell, whose parameter names are those of the official single-file checkpoint."""

from __future__ import annotations

from mindspore import nn

from mindloom_sdxl.cells.conditioner import Conditioner
from mindloom_sdxl.cells.unet import UNet
from mindloom_sdxl.cells.vae import AutoencoderKL
from mindloom_sdxl.presets import Preset


class Denoiser(nn.Cell):
    """Holds the UNet under the name it has on disk."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.diffusion_model = UNet(preset.unet)


class SDXLModel(nn.Cell):
    """UNet, text encoders and VAE; only the UNet is trainable. Use the parts, the whole has no ``construct``.

    ``unet(latents, timesteps, context, vector)``, ``conditioner(ids_l, ids_g, eot_index, time_ids)`` and
    ``first_stage_model(pixels)`` are cells of their own. Build it under ``mindspore.nn.utils.no_init_parameters()``
    when weights will be loaded: the base preset holds 3.5 billion numbers.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.model = Denoiser(preset)
        self.conditioner = Conditioner(preset)
        self.first_stage_model = AutoencoderKL(preset.vae)
        for name, parameter in self.parameters_and_names():
            parameter.name = name
            parameter.requires_grad = name.startswith("model.")

    @property
    def unet(self) -> UNet:
        return self.model.diffusion_model
