"""One captioned picture to its row of the batch: pixels, micro-conditioning, token ids, and everything random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mindloom.task import Draw, Sample
from PIL import Image

from .schedule import TIMESTEPS
from .tokens import CaptionTokenizer

COLUMNS = ("pixels", "time_ids", "ids_1", "ids_2", "eot_index", "timesteps", "noise", "vae_noise")
"""The batch's columns in the order in which the loss takes them."""

VAE_CHANNELS, VAE_FACTOR = 4, 8


@dataclass(frozen=True)
class Transform:
    """How a sample is prepared. Each random purpose has a stream of its own, so that an option switched on or off
    leaves the others' numbers as they are.

    Attributes:
        size: side of the square in pixels.
        caption_dropout, flip: probabilities in [0, 1].
        offset_noise: λ in ε + λ·δ with one δ ~ N(0, 1) for each channel; the paper used 0.05.
        vae_sample: False takes the mean of the VAE's posterior instead of a sample.
    """

    size: int
    tokenizer: CaptionTokenizer
    caption_dropout: float = 0.0
    random_crop: bool = False
    flip: float = 0.0
    offset_noise: float = 0.0
    vae_sample: bool = True

    def __call__(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """Rows of ``COLUMNS``.

        pixels uint8 ``[3, size, size]``; time_ids float32 ``[6]``; ids_1 and ids_2 int32 ``[77]``; eot_index and
        timesteps int32 scalars; noise and vae_noise float32 ``[4, size/8, size/8]``.
        """
        pixels, time_ids = self.frame(sample["image"], draw)
        caption = sample["caption"]
        if self.caption_dropout and draw("caption").random() < self.caption_dropout:
            caption = ""
        tokens = self.tokenizer.encode(caption)
        latent = (VAE_CHANNELS, self.size // VAE_FACTOR, self.size // VAE_FACTOR)
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
            "pixels": pixels,
            "time_ids": time_ids,
            "ids_1": tokens.ids_1,
            "ids_2": tokens.ids_2,
            "eot_index": tokens.eot_index,
            "timesteps": np.array(draw("timestep").integers(TIMESTEPS), np.int32),
            "noise": noise,
            "vae_noise": vae_noise,
        }

    def frame(self, image: Image.Image, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Resize to cover the square, crop, flip; with it the six numbers of SDXL's micro-conditioning.

        time_ids are original height and width before any resize, top and left of the crop in the resized picture,
        target height and width (Podell et al. 2023, section 2.2; height comes first). A flipped picture gets the
        place that its crop has in the flipped picture, as kohya-ss/sd-scripts does.
        """
        width, height = image.size
        if not width or not height:
            raise ValueError(f"the picture has {width} x {height} pixels")
        if min(width, height) == self.size:
            resized = image
        else:
            scale = self.size / min(width, height)
            # Rounding must not leave the long side short of the square.
            shape = (max(self.size, round(width * scale)), max(self.size, round(height * scale)))
            resized = image.resize(shape, Image.Resampling.BICUBIC)
        spare_x, spare_y = resized.width - self.size, resized.height - self.size
        if self.random_crop:
            generator = draw("crop")
            top, left = int(generator.integers(spare_y + 1)), int(generator.integers(spare_x + 1))
        else:
            top, left = spare_y // 2, spare_x // 2
        square = np.asarray(resized.crop((left, top, left + self.size, top + self.size)))
        if square.shape != (self.size, self.size, 3):
            raise ValueError(f"the picture's mode is {image.mode}, not RGB")
        if self.flip and draw("flip").random() < self.flip:
            square = square[:, ::-1]
            left = spare_x - left
        time_ids = np.array([height, width, top, left, self.size, self.size], np.float32)
        return np.ascontiguousarray(square.transpose(2, 0, 1)), time_ids
