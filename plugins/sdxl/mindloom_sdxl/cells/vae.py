"""SDXL's autoencoder, with the names of latent-diffusion's AutoencoderKL."""

from __future__ import annotations

import mindspore as ms
from mindloom.cells import Conv2d, GroupNorm
from mindspore import nn
from mindspore import ops as P

from mindloom_sdxl.cells.resample import EncoderDownsample, Upsample
from mindloom_sdxl.cells.vae_blocks import EPS, Middle, ResnetBlock
from mindloom_sdxl.presets import VAEConfig

PIXEL_CHANNELS = 3


class DownLevel(nn.Cell):
    """Residual blocks at one resolution, then half of it where ``halve``."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, halve: bool) -> None:
        super().__init__()
        self.block = nn.SequentialCell(
            *[ResnetBlock(inputs if i == 0 else outputs, outputs, groups) for i in range(blocks)]
        )
        self.halve = halve
        if halve:
            self.downsample = EncoderDownsample(outputs)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.block(x)
        return self.downsample(x) if self.halve else x


class UpLevel(nn.Cell):
    """Residual blocks at one resolution, then twice of it where ``double``."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, double: bool) -> None:
        super().__init__()
        self.block = nn.SequentialCell(
            *[ResnetBlock(inputs if i == 0 else outputs, outputs, groups) for i in range(blocks)]
        )
        self.double = double
        if double:
            self.upsample = Upsample(outputs)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.block(x)
        return self.upsample(x) if self.double else x


class Encoder(nn.Cell):
    """Pixels ``[B, 3, H, W]`` -> unquantised moments ``[B, 2 * latent_channels, H / factor, W / factor]``."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.channels * mult for mult in config.mult]
        last = len(widths) - 1
        self.conv_in = Conv2d(PIXEL_CHANNELS, config.channels)
        self.down = nn.SequentialCell(
            *[
                DownLevel(inputs, outputs, config.res_blocks, config.groups, halve=level < last)
                for level, (inputs, outputs) in enumerate(zip([config.channels, *widths[:-1]], widths, strict=True))
            ]
        )
        self.mid = Middle(widths[-1], config.groups)
        self.norm_out = GroupNorm(config.groups, widths[-1], EPS, silu=True)
        self.conv_out = Conv2d(widths[-1], 2 * config.latent_channels)

    def construct(self, pixels: ms.Tensor) -> ms.Tensor:
        hidden = self.mid(self.down(self.conv_in(pixels)))
        return self.conv_out(self.norm_out(hidden))


class Decoder(nn.Cell):
    """Latents ``[B, latent_channels, h, w]`` -> pixels ``[B, 3, h * factor, w * factor]``."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.channels * mult for mult in config.mult]
        self.conv_in = Conv2d(config.latent_channels, widths[-1])
        self.mid = Middle(widths[-1], config.groups)
        # Named from the finest level (0), run from the coarsest.
        self.up = nn.CellList(
            [
                UpLevel(inputs, outputs, config.res_blocks + 1, config.groups, double=level > 0)
                for level, (inputs, outputs) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
            ]
        )
        self.coarsest = len(widths) - 1
        self.norm_out = GroupNorm(config.groups, widths[0], EPS, silu=True)
        self.conv_out = Conv2d(widths[0], PIXEL_CHANNELS)

    def construct(self, latents: ms.Tensor) -> ms.Tensor:
        hidden = self.mid(self.conv_in(latents))
        for i in range(self.coarsest + 1):
            hidden = self.up[self.coarsest - i](hidden)
        return self.conv_out(self.norm_out(hidden))


class AutoencoderKL(nn.Cell):
    """The variational autoencoder (Rombach et al. 2022). ``construct`` encodes; :class:`Decode` runs the other half.

    Pixels ``[B, 3, H, W]`` in -1..1 -> mean and logvar of the latents, each ``[B, latent_channels, H / factor,
    W / factor]``, not yet multiplied by ``config.scale``. logvar is clamped to -30..20 as in the reference.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = Conv2d(2 * channels, 2 * channels, kernel=1)
        self.post_quant_conv = Conv2d(channels, channels, kernel=1)
        self.split, self.minimum, self.maximum = P.Split(1, 2), P.Minimum(), P.Maximum()

    def construct(self, pixels: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        mean, logvar = self.split(self.quant_conv(self.encoder(pixels)))
        return mean, self.minimum(self.maximum(logvar, -30.0), 20.0)

    def decode(self, latents: ms.Tensor) -> ms.Tensor:
        """Unscaled latents ``[B, latent_channels, h, w]`` -> pixels about -1..1. To be called from a ``construct``."""
        return self.decoder(self.post_quant_conv(latents))


class Decode(nn.Cell):
    """The decoding half of an autoencoder as a cell of its own, so that it compiles as one graph."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def construct(self, latents: ms.Tensor) -> ms.Tensor:
        return self.autoencoder.decode(latents)
