"""Settings of the task turned into its parts, and refused where they cannot work together. No mindspore here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mindloom import UserError

from .levels import BIASES, Levels, Sigmas, Timesteps, biased
from .presets import PRESETS, Preset
from .schedule import TIMESTEPS

if TYPE_CHECKING:
    from . import Sdxl

OBJECTIVES = ("epsilon", "v", "edm")
UNCONDITIONAL = ("auto", "empty", "zeros")
DROPOUT_FORMS = ("empty", "zeros")
TEXT_ENCODERS = {"none": (), "clip_l": (0,), "clip_g": (1,), "both": (0, 1)}
"""The setting -> indices of the encoders that train."""


def check(cfg: Sdxl.Config) -> None:
    """Refuse settings that cannot work.

    Raises:
        UserError: with the setting.
    """
    choose("preset", cfg.preset, tuple(PRESETS))
    choose("unconditional", cfg.unconditional, UNCONDITIONAL)
    choose("objective", cfg.objective, OBJECTIVES)
    choose("timestep_bias", cfg.timestep_bias, BIASES)
    choose("dropout_form", cfg.dropout_form, DROPOUT_FORMS)
    choose("train_text_encoder", cfg.train_text_encoder, tuple(TEXT_ENCODERS))
    for name in ("caption_dropout", "flip", "timestep_bias_portion"):
        within(name, getattr(cfg, name), 0, 1)
    within("offset_noise", cfg.offset_noise, 0, 10)
    within("min_snr_gamma", cfg.min_snr_gamma, 0, 1e4)
    within("timestep_bias_multiplier", cfg.timestep_bias_multiplier, 1e-6, 1e6)
    within("timestep_bias_begin", cfg.timestep_bias_begin, 0, TIMESTEPS - 1)
    within("timestep_bias_end", cfg.timestep_bias_end, cfg.timestep_bias_begin + 1, TIMESTEPS)
    within("caption_chunks", cfg.caption_chunks, 1, 16)
    within("sample_steps", cfg.sample_steps, 1, 1000)
    within("guidance", cfg.guidance, 0, 100)
    within("sample_batch", cfg.sample_batch, 1, 1024)
    unit = PRESETS[cfg.preset].vae.factor * 2 ** (len(PRESETS[cfg.preset].unet.mult) - 1)
    if cfg.resolution is not None and (cfg.resolution < unit or cfg.resolution % unit):
        refuse("resolution", f"is {cfg.resolution}: give a multiple of {unit}, or null")
    check_objective(cfg)


def check_objective(cfg: Sdxl.Config) -> None:
    """Refuse options of one objective with another."""
    if cfg.zero_terminal_snr and cfg.objective != "v":
        refuse("zero_terminal_snr", "needs objective=v: where only noise is left, predicting it teaches nothing")
    if cfg.objective == "edm" and cfg.min_snr_gamma:
        refuse("min_snr_gamma", "weighs timesteps, and objective=edm has weights of its own: set it to 0")
    if cfg.objective == "edm" and cfg.timestep_bias != "none":
        refuse("timestep_bias", "biases timesteps, and objective=edm draws σ: set it to none")
    mean, std = cfg.latents_mean, cfg.latents_std
    if bool(mean) != bool(std):
        refuse("latents_std" if mean else "latents_mean", "is missing: latents_mean and latents_std belong together")
    if mean and cfg.objective != "edm":
        refuse("latents_mean", "brings latents to the scale of objective=edm: leave it empty for the others")
    for name, values in (("latents_mean", mean), ("latents_std", std)):
        if values and (len(values) != 4 or not all(abs(value) < 1e6 for value in values)):
            refuse(name, f"is {list(values)}: give four numbers, one for each channel of the latents")
    if any(value <= 0 for value in std):
        refuse("latents_std", f"is {list(std)}: standard deviations are above 0")


def levels(cfg: Sdxl.Config) -> Levels:
    """What draws how noisy each sample is made."""
    if cfg.objective == "edm":
        return Sigmas()
    if cfg.timestep_bias == "none":
        return Timesteps()
    ends = cfg.timestep_bias_begin, cfg.timestep_bias_end
    shares = biased(cfg.timestep_bias, cfg.timestep_bias_multiplier, cfg.timestep_bias_portion, *ends)
    return Timesteps(tuple(shares.tolist()))


def chunks(cfg: Sdxl.Config) -> int:
    """Chunks of 75 tokens in a caption."""
    return cfg.caption_chunks if cfg.long_captions else 1


def zeroed(cfg: Sdxl.Config) -> bool:
    """Whether zeros ever take the place of a caption's embeddings."""
    return cfg.dropout_form == "zeros" and cfg.caption_dropout > 0


def trains(name: str, cfg: Sdxl.Config, preset: Preset) -> bool:
    """Whether the parameter of this name is trained.

    What SDXL never reads of an encoder stays as it is: weight decay alone would change it.
    """
    if name.startswith("model."):
        return True
    prefixes = tuple(f"conditioner.embedders.{index}." for index in TEXT_ENCODERS[cfg.train_text_encoder])
    last = rf"\.encoder\.layers\.{preset.clip_l.layers - 1}\."
    return name.startswith(prefixes) and not re.search(rf"{last}|\.final_layer_norm\.|\.logit_scale$", name)


def choose(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those allowed."""
    if value not in allowed:
        refuse(name, f"is {value!r}: choose one of {', '.join(allowed)}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside its range."""
    if not low <= value <= high:
        refuse(name, f"is {value}: give a number from {low:g} to {high:g}")


def refuse(name: str, what: str) -> None:
    """Raise the error about a setting of this plugin."""
    raise UserError(f"plugins.sdxl.{name} {what}", f"plugins.sdxl.{name}")
