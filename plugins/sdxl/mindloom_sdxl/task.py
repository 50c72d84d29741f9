"""Stable Diffusion XL as a task of the core: model, loss, transform, weights and previews joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mindloom.task import Draw, Sample, Task

from . import choices
from .cells.clip import EncoderLayer
from .cells.model import SDXLModel
from .cells.openclip import ResidualAttentionBlock
from .cells.resblock import ResBlock
from .cells.transformer import TransformerBlock
from .frozen import FROZEN, KeptTransform, SdxlFrozen, kept_example
from .noising import Objective
from .objective import DiffusionLoss, ZeroingLoss
from .presets import PRESETS
from .preview import Previewer
from .tokens import LENGTH, CaptionTokenizer, load_tokenizer
from .transform import COLUMNS, TOLD, VAE_CHANNELS, VAE_FACTOR, Transform, named
from .weights import Leniency, load_weights, save_weights

if TYPE_CHECKING:
    from mindspore import nn

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

LAYERS = (ResBlock, TransformerBlock, EncoderLayer, ResidualAttentionBlock)
"""What UNet and text encoders are made of. The VAE has blocks of its own."""


class SdxlTask(Task):
    """Full-parameter training of the UNet, and of text encoders if asked for; the VAE is frozen.

    Attributes:
        objective: what the UNet predicts, and how its error is weighed.
        levels: draws how noisy each sample is made.
        chunks: chunks of 75 tokens in a caption.
        zeroed: dropped captions are zeros instead of the empty one.
        row: turns samples into rows; another one when features are kept.
        previewer: None when the encoders were dropped.
    """

    columns: tuple[str, ...] = COLUMNS
    keep_float32 = KEEP_FLOAT32
    casts_weights = True
    row: Transform | KeptTransform
    previewer: Previewer | None = None

    def __init__(
        self,
        cfg: Sdxl.Config,
        dry: bool = False,
        weight: str = "",
        watch: Callable[[nn.Cell], None] = lambda cell: None,
    ) -> None:
        """Build everything.

        Args:
            dry: the loss is only compiled, on ``example()``, which takes no vocabulary; nothing else works.
            weight: where the weights come from: a vocabulary may lie beside them.
            watch: told of every cell, beside the loss, that is called by itself.

        Raises:
            UserError: no vocabulary, or one that is larger than the model's.
        """
        preset = PRESETS[cfg.preset]
        self.watch = watch
        self.cfg, self.resolution = cfg, cfg.resolution or preset.resolution
        self.multiple = preset.vae.factor * 2 ** (len(preset.unet.mult) - 1)
        size = self.resolution
        self.chunks, self.zeroed, self.levels = choices.chunks(cfg), choices.zeroed(cfg), choices.levels(cfg)
        self.columns = (*named(COLUMNS, self.levels), *((TOLD,) if self.zeroed else ()))
        self.tokenizer = tokenizer = None if dry else vocabulary(cfg, weight)
        self.model = SDXLModel(preset)
        for name, parameter in self.model.parameters_and_names():
            parameter.requires_grad = choices.trains(name, cfg, preset)
        self.objective = Objective(
            cfg.objective, cfg.zero_terminal_snr, cfg.min_snr_gamma, tuple(cfg.latents_mean), tuple(cfg.latents_std)
        )
        loss = ZeroingLoss if self.zeroed else DiffusionLoss
        self.loss = loss(self.model, self.objective, stop_text=cfg.train_text_encoder == "none")
        if tokenizer is None:
            return
        self.row = Transform(
            size,
            tokenizer,
            cfg.caption_dropout,
            cfg.random_crop,
            cfg.flip,
            cfg.offset_noise,
            cfg.vae_sample,
            self.zeroed,
            self.levels,
        )
        zero_empty = cfg.unconditional == "zeros" or (
            cfg.unconditional == "auto" and (self.zeroed or not cfg.caption_dropout)
        )
        self.previewer = Previewer(
            self.model,
            tokenizer,
            size,
            cfg.sample_steps,
            cfg.guidance,
            zero_empty,
            cfg.sample_batch,
            objective=self.objective,
        )
        for cell in self.previewer.painter.cells:
            watch(cell)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        """See :class:`mindloom_sdxl.transform.Transform`."""
        return self.row(sample, draw)

    def example(self) -> dict[str, np.ndarray]:
        """Zeros in the shapes of ``transform``'s rows, which needs no vocabulary."""
        side, ids = self.resolution, (self.chunks,) if self.chunks > 1 else ()
        latent = np.zeros((VAE_CHANNELS, side // VAE_FACTOR, side // VAE_FACTOR), np.float32)
        known: dict[str, np.ndarray] = {
            "pixels": np.zeros((3, side, side), np.uint8),
            "time_ids": np.zeros(6, np.float32),
            "ids_1": np.zeros((*ids, LENGTH), np.int32),
            "ids_2": np.zeros((*ids, LENGTH), np.int32),
            "eot_index": np.zeros(ids, np.int32),
            self.levels.column: np.ones((), self.levels.dtype),
            TOLD: np.ones((), np.float32),
            **kept_example(self.model.preset, self.chunks),
        }
        return {name: known.get(name, latent) for name in self.columns}

    def load_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.load_weights`. Encoders that were dropped are not asked for."""
        load_weights(
            self.model, path, spare=() if hasattr(self.model, "conditioner") else FROZEN, leniency=Leniency.of(self.cfg)
        )

    def save_weights(self, path: Path) -> None:
        """See :func:`mindloom_sdxl.weights.save_weights`."""
        save_weights(self.model, path)

    def frozen(self) -> SdxlFrozen:
        """VAE and text encoders.

        Raises:
            UserError: crops are random, or text encoders train.
        """
        if self.cfg.random_crop:
            choices.refuse(
                "random_crop",
                "gives a picture another crop every time, so its features cannot be kept: set "
                "plugins.sdxl.random_crop=false",
            )
        if self.cfg.train_text_encoder != "none":
            choices.refuse(
                "train_text_encoder",
                "changes what captions are encoded to, so features cannot be kept: set "
                "plugins.sdxl.train_text_encoder=none, or keep none",
            )
        return SdxlFrozen(self)

    def blocks(self) -> list[nn.Cell]:
        """Layers of the UNet, and of text encoders that train."""
        layers = [cell for _, cell in self.model.cells_and_names() if isinstance(cell, LAYERS)]
        return [layer for layer in layers if layer.trainable_params()]

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray] | None:
        """See :class:`mindloom_sdxl.preview.Previewer`; None without encoders."""
        return self.previewer(prompts, seed) if self.previewer else None


def vocabulary(cfg: Sdxl.Config, weight: str) -> CaptionTokenizer:
    """Read the vocabulary that the config names, and see that the preset's encoders know all of it.

    Raises:
        UserError: there is none, or it is larger than the model's.
    """
    tokenizer = load_tokenizer(cfg.tokenizer, cfg.preset, weight, choices.chunks(cfg))
    known = PRESETS[cfg.preset].clip_l.vocabulary
    if tokenizer.size > known:
        choices.refuse(
            "tokenizer",
            f"{cfg.tokenizer or 'found'} has {tokenizer.size} tokens, but preset {cfg.preset} has {known}: set the "
            "tokenizer that belongs to the preset",
        )
    return tokenizer
