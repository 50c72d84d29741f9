"""One captioned picture to its row of the batch: pixels, micro-conditioning, token ids, and everything random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mindloom.framing import frame
from mindloom.task import Draw, Sample

from .levels import UNIFORM, Levels
from .tokens import CaptionTokenizer

COLUMNS = ("pixels", "time_ids", "ids_1", "ids_2", "eot_index", "timesteps", "noise", "vae_noise")
"""The batch's columns in the order in which the loss takes them; ``named`` tells how options change them."""

TOLD = "told"
"""Float32 scalar, 0 where zeros replace the text, else 1: the last column when captions are dropped that way."""

VAE_CHANNELS, VAE_FACTOR = 4, 8


@dataclass(frozen=True)
class Transform:
    """How a sample is prepared. Each random purpose has a stream of its own, so that an option switched on or off
    leaves the others' numbers as they are.

    Attributes:
        size: side of the square in pixels, for a sample that names no ``frame`` of its own.
        caption_dropout, flip: probabilities in [0, 1].
        offset_noise: λ in ε + λ·δ with one δ ~ N(0, 1) for each channel; the paper used 0.05.
        vae_sample: False takes the mean of the VAE's posterior instead of a sample.
        zeroed: a dropped caption's embeddings are replaced by zeros, instead of the caption by the empty one.
        levels: draws how noisy the sample is made.
    """

    size: int
    tokenizer: CaptionTokenizer
    caption_dropout: float = 0.0
    random_crop: bool = False
    flip: float = 0.0
    offset_noise: float = 0.0
    vae_sample: bool = True
    zeroed: bool = False
    levels: Levels = UNIFORM

    def __call__(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """Rows of ``COLUMNS``, or of what ``named`` makes of them.

        pixels uint8 ``[3, height, width]``; time_ids float32 ``[6]``; ids_1, ids_2 and eot_index as in ``TokenIds``;
        timesteps an int32 scalar; noise and vae_noise float32 ``[4, height/8, width/8]``. Height and width are those
        of ``sample["frame"]``, or else of the square.

        time_ids are SDXL's micro-conditioning: original height and width before any resize, top and left of the crop in
        the resized picture, target height and width (Podell et al. 2023, section 2.2; height comes first).
        """
        height, width = sample.get("frame") or (self.size, self.size)
        framed = frame(sample["image"], height, width, draw, self.random_crop, self.flip)
        dropped = self.dropped(draw)
        tokens = self.tokenizer.encode("" if dropped and not self.zeroed else sample["caption"])
        told = {TOLD: np.array(not dropped, np.float32)} if self.zeroed else {}
        return {
            "pixels": framed.pixels,
            "time_ids": np.array([*framed.original, *framed.corner, height, width], np.float32),
            "ids_1": tokens.ids_1,
            "ids_2": tokens.ids_2,
            "eot_index": tokens.eot_index,
            **self.chance(height // VAE_FACTOR, width // VAE_FACTOR, draw),
            **told,
        }

    def dropped(self, draw: Draw) -> bool:
        """Decide whether the sample's caption is withheld."""
        return bool(self.caption_dropout) and bool(draw("caption").random() < self.caption_dropout)

    def chance(self, height: int, width: int, draw: Draw) -> dict[str, np.ndarray]:
        """Draw noise level and noise for latents of this height and width."""
        latent = (VAE_CHANNELS, height, width)
        noise = draw("noise").standard_normal(latent, np.float32)
        if self.offset_noise:
            # Guttenberg 2023 (crosslabs.org/blog/diffusion-with-offset-noise). The shifted noise is the target too.
            shift = draw("offset_noise").standard_normal((VAE_CHANNELS, 1, 1), np.float32)
            noise = noise + np.float32(self.offset_noise) * shift
        if self.vae_sample:
            vae_noise = draw("vae_noise").standard_normal(latent, np.float32)
        else:
            vae_noise = np.zeros(latent, np.float32)
        return {
            self.levels.column: self.levels(draw("timestep")),
            "noise": noise,
            "vae_noise": vae_noise,
        }


def named(columns: Sequence[str], levels: Levels) -> tuple[str, ...]:
    """Columns with the name of what is drawn in the place of timesteps."""
    return tuple(levels.column if name == UNIFORM.column else name for name in columns)
