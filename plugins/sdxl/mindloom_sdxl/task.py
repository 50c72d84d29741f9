"""Stable Diffusion XL as a task of the core: model, loss, transform, weights and previews joined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindloom import UserError
from mindloom.task import Draw, Sample, Task

from .cells.model import SDXLModel
from .frozen import FROZEN, KeptTransform, SdxlFrozen, kept_example
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
    """Full-parameter training of the UNet with the noise-prediction objective; VAE and text encoders are frozen.

    Attributes:
        row: turns samples into rows; another one when features are kept.
        previewer: None when the encoders were dropped.
    """

    columns = COLUMNS
    keep_float32 = KEEP_FLOAT32
    row: Transform | KeptTransform
    previewer: Previewer | None = None

    def __init__(self, cfg: Sdxl.Config, dry: bool = False) -> None:
        """Build everything.

        Args:
            dry: the loss is only compiled, on ``example()``, which takes no vocabulary; nothing else works.

        Raises:
            UserError: no vocabulary, or one that is larger than the model's.
        """
        preset = PRESETS[cfg.preset]
        self.cfg, self.resolution = cfg, cfg.resolution or preset.resolution
        size = self.resolution
        self.tokenizer = tokenizer = None if dry else vocabulary(cfg)
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
        side = self.resolution
        latent = np.zeros((VAE_CHANNELS, side // VAE_FACTOR, side // VAE_FACTOR), np.float32)
        if self.columns != COLUMNS:
            return kept_example(self.model.preset, latent)
        return {
            "pixels": np.zeros((3, side, side), np.uint8),
            "time_ids": np.zeros(6, np.float32),
            "ids_1": np.zeros(LENGTH, np.int32),
            "ids_2": np.zeros(LENGTH, np.int32),
            "eot_index": np.zeros((), np.int32),
            "timesteps": np.zeros((), np.int32),
            "noise": latent,
            "vae_noise": latent,
        }

    def load_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.load_weights`. Encoders that were dropped are not asked for."""
        load_weights(self.model, path, spare=() if hasattr(self.model, "conditioner") else FROZEN)

    def save_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.save_weights`."""
        save_weights(self.model, path)

    def frozen(self) -> SdxlFrozen:
        """VAE and text encoders.

        Raises:
            UserError: crops are random.
        """
        if self.cfg.random_crop:
            raise UserError(
                "features cannot be kept while plugins.sdxl.random_crop gives a picture another crop every time: "
                "set plugins.sdxl.random_crop=false",
                "plugins.sdxl.random_crop",
            )
        return SdxlFrozen(self)

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray] | None:
        """See :class:`mindloom_sdxl.preview.Previewer`; None without encoders."""
        return self.previewer(prompts, seed) if self.previewer else None


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
