"""The shapes of the SDXL networks: the released base model, and a tiny one of the same structure. No mindspore here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetConfig:
    """The denoiser (Podell et al. 2023, table 1; names follow openaimodel.py of generative-models).

    ``depths`` counts the transformer blocks behind every residual block of a level, 0 for no attention there.
    """

    channels: int
    mult: tuple[int, ...]
    res_blocks: int
    depths: tuple[int, ...]
    middle_depth: int
    head_dim: int
    context_dim: int
    vector_dim: int
    groups: int = 32
    in_channels: int = 4
    out_channels: int = 4

    @property
    def embedding_dim(self) -> int:
        """Width of the sum of time and label embedding."""
        return 4 * self.channels


@dataclass(frozen=True)
class TextConfig:
    """One CLIP text encoder.

    ``token_std`` and ``position_std`` are those of freshly drawn embeddings. The values of CLIP are right for training
    an encoder; one that stays random and frozen needs tokens of unit scale that outweigh their positions.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    pad_id: int
    length: int = 77
    token_std: float = 0.02
    position_std: float = 0.01

    @property
    def sot_id(self) -> int:
        """Start of text: the last token but one, as in CLIP's vocabulary."""
        return self.vocabulary - 2

    @property
    def eot_id(self) -> int:
        """End of text: the last token of the vocabulary."""
        return self.vocabulary - 1

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class VAEConfig:
    """The autoencoder; every level but the last halves the picture. ``scale`` brings latents to unit variance."""

    channels: int
    mult: tuple[int, ...]
    res_blocks: int
    groups: int = 32
    latent_channels: int = 4
    scale: float = 0.13025

    @property
    def factor(self) -> int:
        """Pixels for each latent, along one side."""
        return 2 ** (len(self.mult) - 1)


@dataclass(frozen=True)
class Preset:
    """One complete model. ``size_dim`` is the width of the sinusoid of each of the six numbers of ``time_ids``."""

    name: str
    unet: UNetConfig
    clip_l: TextConfig
    clip_g: TextConfig
    vae: VAEConfig
    resolution: int
    size_dim: int = 256

    def __post_init__(self) -> None:
        context, vector = self.clip_l.width + self.clip_g.width, self.clip_g.width + 6 * self.size_dim
        if (self.unet.context_dim, self.unet.vector_dim) != (context, vector):
            raise ValueError(
                f"preset {self.name}: the text encoders give context {context} and vector {vector}, but the UNet has"
                f" {self.unet.context_dim} and {self.unet.vector_dim}; set its context_dim and vector_dim to the former"
            )

    @property
    def latent_size(self) -> int:
        """Side of the latents at the preset's own resolution."""
        return self.resolution // self.vae.factor


BASE = Preset(
    name="base",
    unet=UNetConfig(
        channels=320,
        mult=(1, 2, 4),
        res_blocks=2,
        depths=(0, 2, 10),
        middle_depth=10,
        head_dim=64,
        context_dim=2048,
        vector_dim=2816,
    ),
    clip_l=TextConfig(vocabulary=49408, width=768, layers=12, heads=12, pad_id=49407),
    clip_g=TextConfig(vocabulary=49408, width=1280, layers=32, heads=20, pad_id=0),
    vae=VAEConfig(channels=128, mult=(1, 2, 4, 4), res_blocks=2),
    resolution=1024,
)

TINY = Preset(
    name="tiny",
    unet=UNetConfig(
        channels=32,
        mult=(1, 2, 3),
        res_blocks=1,
        depths=(0, 1, 1),
        middle_depth=1,
        head_dim=16,
        context_dim=64,
        vector_dim=32 + 6 * 32,
        groups=8,
    ),
    clip_l=TextConfig(vocabulary=1024, width=32, layers=2, heads=2, pad_id=1023, token_std=1.0, position_std=0.3),
    clip_g=TextConfig(vocabulary=1024, width=32, layers=2, heads=2, pad_id=0, token_std=1.0, position_std=0.3),
    vae=VAEConfig(channels=8, mult=(1, 3, 6, 8), res_blocks=1, groups=2),
    resolution=128,
    size_dim=32,
)

PRESETS = {preset.name: preset for preset in (BASE, TINY)}
