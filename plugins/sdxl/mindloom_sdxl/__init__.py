"""The task "Stable Diffusion XL" for mindloom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

from .presets import PRESETS

if TYPE_CHECKING:
    from mindloom.run import Run
    from mindloom.task import Task

__all__ = ["Sdxl"]

UNCONDITIONAL = ("auto", "empty", "zeros")


class Sdxl(Plugin):
    """Stable Diffusion XL: full-parameter fine-tuning of the UNet."""

    @dataclass
    class Config:
        """Settings of the task."""

        preset: str = setting("base", "the released model, or tiny: the same structure in seconds on a CPU")
        resolution: int | None = setting(None, "side of the square in pixels; null: the preset's own")
        tokenizer: str = setting("", "folder with vocab.json and merges.txt; empty: tiny's own, or that of open_clip")
        caption_dropout: float = setting(0.0, "share of captions replaced by the empty one, for guidance; 0.1 is usual")
        random_crop: bool = setting(False, "crop anywhere instead of at the centre")
        flip: float = setting(0.0, "share of pictures mirrored left to right")
        offset_noise: float = setting(0.0, "strength of a shift of each noise channel; 0.05 gives darker darks")
        vae_sample: bool = setting(True, "sample the VAE's posterior; false: take its mean")
        sample_steps: int = setting(25, "UNet calls for a preview picture")
        guidance: float = setting(5.0, "classifier-free guidance of previews; 1: none")
        sample_batch: int = setting(1, "preview pictures drawn at once")
        unconditional: str = setting(
            "auto", "what guidance moves away from: the empty caption, zeros, or auto: empty when captions are dropped"
        )

    cfg: Config

    @hookimpl
    def on_configure(self) -> None:
        """Refuse settings that cannot work."""
        cfg = self.cfg
        choose("preset", cfg.preset, tuple(PRESETS))
        choose("unconditional", cfg.unconditional, UNCONDITIONAL)
        for name in ("caption_dropout", "flip"):
            within(name, getattr(cfg, name), 0, 1)
        within("offset_noise", cfg.offset_noise, 0, 10)
        within("sample_steps", cfg.sample_steps, 1, 1000)
        within("guidance", cfg.guidance, 0, 100)
        within("sample_batch", cfg.sample_batch, 1, 1024)
        unit = PRESETS[cfg.preset].vae.factor * 2 ** (len(PRESETS[cfg.preset].unet.mult) - 1)
        if cfg.resolution is not None and (cfg.resolution < unit or cfg.resolution % unit):
            raise UserError(
                f"plugins.sdxl.resolution is {cfg.resolution}: give a multiple of {unit}, or null",
                "plugins.sdxl.resolution",
            )

    @hookimpl
    def make_task(self, run: Run) -> Task:
        """Build the model; without weights to load, say so."""
        from .task import SdxlTask

        if not (run.dry or run.cfg.weight or run.cfg.resume):
            run.log.warning("sdxl: no weights were given (--weight), so training starts from random ones")
        return SdxlTask(self.cfg, run.dry)


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"plugins.sdxl.{name} is {value!r}: choose one of {', '.join(choices)}", f"plugins.sdxl.{name}")


def within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"plugins.sdxl.{name} is {value}: give a number from {low} to {high}", f"plugins.sdxl.{name}")
