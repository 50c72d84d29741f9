"""Stable Diffusion XL as a task of the core: model, loss, transform, weights and previews joined."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindloom import UserError
from mindloom.task import Draw, Sample, Task
from mindspore.nn.utils import no_init_parameters

from .cells.model import SDXLModel
from .objective import DiffusionLoss
from .presets import PRESETS
from .preview import Previewer
from .tokens import load_tokenizer
from .transform import COLUMNS, Transform
from .weights import load_weights, save_weights

if TYPE_CHECKING:
    from . import Sdxl


class SdxlTask(Task):
    """Full-parameter training of the UNet with the noise-prediction objective; VAE and text encoders are frozen."""

    columns = COLUMNS

    def __init__(self, cfg: Sdxl.Config, weights_follow: bool = False) -> None:
        """Build everything.

        Args:
            weights_follow: ``load_weights`` will fill every parameter, so that 3.5 billion random numbers are saved;
                until then the parameters have no values.

        Raises:
            UserError: no vocabulary, or one that is larger than the model's.
        """
        preset = PRESETS[cfg.preset]
        size = cfg.resolution or preset.resolution
        tokenizer = load_tokenizer(cfg.tokenizer, cfg.preset)
        if tokenizer.size > preset.clip_l.vocabulary:
            raise UserError(
                f"plugins.sdxl.tokenizer {cfg.tokenizer} has {tokenizer.size} tokens, but preset {cfg.preset} has "
                f"{preset.clip_l.vocabulary}: set the tokenizer that belongs to the preset",
                "plugins.sdxl.tokenizer",
            )
        with no_init_parameters() if weights_follow else nullcontext():
            self.model = SDXLModel(preset)
        self.loss = DiffusionLoss(self.model)
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

    def load_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.load_weights`."""
        load_weights(self.model, path)

    def save_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.save_weights`."""
        save_weights(self.model, path)

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray]:
        """See :class:`mindloom_sdxl.preview.Previewer`."""
        return self.previewer(prompts, seed)
