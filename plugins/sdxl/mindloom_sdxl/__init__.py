"""The task "Stable Diffusion XL" for mindloom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mindloom import Plugin, hookimpl
from mindloom.schema import setting

from .choices import check

if TYPE_CHECKING:
    from mindloom.run import Run
    from mindloom.task import Task

    from .tokens import CaptionTokenizer

__all__ = ["Sdxl"]


class Sdxl(Plugin):
    """Stable Diffusion XL: full-parameter fine-tuning of the UNet."""

    @dataclass
    class Config:
        """Settings of the task."""

        preset: str = setting("base", "the released model, or tiny: the same structure in seconds on a CPU")
        resolution: int | None = setting(None, "side of the square in pixels; null: the preset's own")
        tokenizer: str = setting("", "where CLIP's vocabulary is: folder, file or hub:NAME; empty: looked for")
        vae: str = setting("", "weights whose VAE replaces the one of --weight, such as the one made for float16")
        strict: bool = setting(True, "false: weights may lack tensors, which stay fresh, and hold unknown ones")
        missing: list[str] = setting(["*"], "with strict=false: patterns of names that may be missing")
        caption_dropout: float = setting(0.0, "share of captions withheld, for guidance; 0.1 is usual")
        dropout_form: str = setting("empty", "what takes a withheld caption's place: the empty one, encoded, or zeros")
        long_captions: bool = setting(False, "encode captions in several chunks of 75 tokens; false: cut after 75")
        caption_chunks: int = setting(3, "how many chunks long captions have, the same for every caption")
        train_text_encoder: str = setting("none", "text encoders that train with the UNet: none, clip_l, clip_g, both")
        random_crop: bool = setting(False, "crop anywhere instead of at the centre")
        flip: float = setting(0.0, "share of pictures mirrored left to right")
        objective: str = setting("epsilon", "what the UNet predicts: epsilon, v, or edm (Karras et al. 2022)")
        zero_terminal_snr: bool = setting(False, "end the noise schedule in pure noise; needs objective v")
        min_snr_gamma: float = setting(0.0, "cap on the weight of little noisy timesteps; 5 is usual, 0: none")
        timestep_bias: str = setting("none", "timesteps drawn more often than others: none, earlier, later, range")
        timestep_bias_multiplier: float = setting(1.0, "how much more often")
        timestep_bias_portion: float = setting(0.25, "share of the timesteps that earlier and later mean")
        timestep_bias_begin: int = setting(0, "first timestep of range")
        timestep_bias_end: int = setting(1000, "end of range, exclusive")
        latents_mean: list[float] = setting([], "edm only: mean of the VAE's four channels; empty: VAE's scale alone")
        latents_std: list[float] = setting([], "edm only: their standard deviations, brought to 0.5")
        offset_noise: float = setting(0.0, "strength of a shift of each noise channel; 0.05 gives darker darks")
        vae_sample: bool = setting(True, "sample the VAE's posterior; false: take its mean")
        sample_steps: int = setting(25, "UNet calls for a preview picture")
        guidance: float = setting(5.0, "classifier-free guidance of previews; 1: none")
        sample_batch: int = setting(1, "preview pictures drawn at once")
        unconditional: str = setting(
            "auto", "what guidance moves away from: the empty caption, zeros, or auto: empty when captions are dropped"
        )

    cfg: Config
    tokenizer: CaptionTokenizer | None = None
    told = 0

    @hookimpl
    def on_configure(self) -> None:
        """Refuse settings that cannot work."""
        check(self.cfg)

    @hookimpl
    def make_task(self, run: Run) -> Task:
        """Build the model; without weights to load, say so."""
        from .task import SdxlTask

        if not (run.dry or run.cfg.weight or run.cfg.resume):
            run.log.warning("sdxl: no weights were given (--weight), so training starts from random ones")
            if self.cfg.vae:
                run.log.warning("sdxl: plugins.sdxl.vae replaces the VAE of --weight, and does nothing without it")
        task = SdxlTask(self.cfg, run.dry, run.cfg.weight, partial(run.cache_graphs, together=False))
        self.tokenizer = task.tokenizer
        return task

    @hookimpl
    def on_log(self, run: Run) -> None:
        """Tell of captions that were cut, each time that there are twice as many."""
        if self.tokenizer and self.tokenizer.cut >= 2 * self.told:
            self._tell_cut(run)

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Tell of captions that were cut since."""
        if run.world.is_main:
            self._tell_cut(run)

    def _tell_cut(self, run: Run) -> None:
        if self.tokenizer and self.tokenizer.cut > self.told:
            self.told = self.tokenizer.cut
            run.log.warning("sdxl: %s", self.tokenizer.report())
