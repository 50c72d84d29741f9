"""Stable Diffusion XL as a task of the core: model, loss, transform, weights and previews joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindloom import UserError
from mindloom.task import Draw, Sample, Task

from .cells.model import SDXLModel
from .objective import DiffusionLoss
from .presets import PRESETS
from .preview import Previewer
from .tokens import LENGTH, CaptionTokenizer, load_tokenizer
from .transform import COLUMNS, VAE_CHANNELS, VAE_FACTOR, Transform
from .weights import load_weights, save_weights

if TYPE_CHECKING:
    from . import Sdxl


KEEP_FLOAT32 = (
    r"^first_stage_model\.",  # SDXL's VAE overflows float16
    r"\.(in_layers|out_layers|out)\.0\.",
    r"norm\d?\.",
    r"\.ln_\w+\.",
    r"position(al)?_embedding",
    r"\.(text_projection|logit_scale)$",  # they belong to the cell that holds the positions
)
"""Norms, embeddings of positions and the VAE."""


class SdxlTask(Task):
    """Full-parameter training of the UNet with the noise-prediction objective; VAE and text encoders are frozen."""

    columns = COLUMNS
    keep_float32 = KEEP_FLOAT32

    def __init__(self, cfg: Sdxl.Config, dry: bool = False) -> None:
        """Build everything.

        Args:
            dry: the loss is only compiled, on ``example()``, which takes no vocabulary; nothing else works.

        Raises:
            UserError: no vocabulary, or one that is larger than the model's.
        """
        preset = PRESETS[cfg.preset]
        self.size = size = cfg.resolution or preset.resolution
        tokenizer = None if dry else vocabulary(cfg)
        self.model = SDXLModel(preset)
        self.loss = DiffusionLoss(self.model)
        if tokenizer is None:
            return
        self.row = Transform(
            size, tokenizer, cfg.caption_dropout, cfg.random_crop, cfg.flip, cfg.offset_noise, cfg.vae_sample
        )
        zero_empty = cfg.unconditional == "zeros" or (cfg.unconditional == "auto" and not cfg.caption_dropout)
        self.previewer = Previewer(
            self.model, tokenizer, size, cfg.sample_steps, cfg.guidance, zero_empty, cfg.sample_batch
        )

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """See :class:`mindloom_sdxl.transform.Transform`."""
        return self.row(sample, draw)

    def example(self) -> dict[str, np.ndarray]:
        """Zeros in the shapes of :class:`mindloom_sdxl.transform.Transform`, which needs no vocabulary."""
        latent = np.zeros((VAE_CHANNELS, self.size // VAE_FACTOR, self.size // VAE_FACTOR), np.float32)
        return {
            "pixels": np.zeros((3, self.size, self.size), np.uint8),
            "time_ids": np.zeros(6, np.float32),
            "ids_1": np.zeros(LENGTH, np.int32),
            "ids_2": np.zeros(LENGTH, np.int32),
            "eot_index": np.zeros((), np.int32),
            "timesteps": np.zeros((), np.int32),
            "noise": latent,
            "vae_noise": latent,
        }

    def load_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.load_weights`."""
        load_weights(self.model, path)

    def save_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.save_weights`."""
        save_weights(self.model, path)

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray]:
        """See :class:`mindloom_sdxl.preview.Previewer`."""
        return self.previewer(prompts, seed)


def vocabulary(cfg: Sdxl.Config) -> CaptionTokenizer:
    """Read the vocabulary that the config names, and see that the preset's encoders know all of it.

    Raises:
        UserError: there is none, or it is larger than the model's.
    """
    tokenizer, known = load_tokenizer(cfg.tokenizer, cfg.preset), PRESETS[cfg.preset].clip_l.vocabulary
    if tokenizer.size > known:
        raise UserError(
            f"plugins.sdxl.tokenizer {cfg.tokenizer} has {tokenizer.size} tokens, but preset {cfg.preset} has "
            f"{known}: set the tokenizer that belongs to the preset",
            "plugins.sdxl.tokenizer",
        )
    return tokenizer
