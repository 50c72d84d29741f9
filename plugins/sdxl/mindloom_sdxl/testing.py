"""A kit for tests: the smallest Stable Diffusion XL that has all of its parts, which compiles in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .presets import PRESETS, TINY
from .tokens import TINY_ASSETS

MICRO = replace(
    TINY,
    name="micro",
    unet=replace(TINY.unet, channels=16, mult=(1,), res_blocks=0, depths=(1,), middle_depth=0),
    clip_l=replace(TINY.clip_l, layers=1),
    clip_g=replace(TINY.clip_g, layers=1),
    vae=replace(TINY.vae, channels=4, mult=(1, 1, 1, 1), res_blocks=0, groups=2),
    resolution=64,
)
SETTINGS: dict[str, Any] = {"preset": MICRO.name, "tokenizer": str(TINY_ASSETS)}
"""What makes the plugin train it, within ``micro``."""


@contextmanager
def micro() -> Iterator[None]:
    """Offer it among the presets."""
    PRESETS[MICRO.name] = MICRO
    try:
        yield
    finally:
        del PRESETS[MICRO.name]
