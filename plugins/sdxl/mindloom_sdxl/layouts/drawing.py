"""Random weights for a preset, drawn when they are asked for: each tensor's own, fixed by the seed and its name."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np

from ..presets import Preset
from .names import CLIP_L
from .opening import CLIP_SCALE
from .shapes import Shapes
from .tensors import Lazy, Tensors


def drawn(shapes: Shapes, preset: Preset, seed: int) -> Tensors:
    """float32 tensors that behave as a fresh network does, without its zeros, which would hide mistakes.

    Norm weights are 1, biases 0, embeddings N(0, std²) of the preset, all else U(-1/√fan, 1/√fan).
    """
    return {name: Lazy("F32", shape, _draw(name, shape, preset, seed)) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...], preset: Preset, seed: int) -> Callable[[], np.ndarray]:
    def draw() -> np.ndarray:
        generator = np.random.default_rng([seed % 2**64, zlib.crc32(name.encode())])
        text = preset.clip_l if name.startswith(CLIP_L) else preset.clip_g
        if name.endswith("logit_scale"):
            return np.full(shape, CLIP_SCALE, np.float32)
        if name.endswith("bias"):
            return np.zeros(shape, np.float32)
        if len(shape) == 1:
            return np.ones(shape, np.float32)
        numbers = generator.standard_normal(shape, np.float32) if "embedding" in name else None
        if numbers is not None:
            return numbers * np.float32(text.position_std if "position" in name else text.token_std)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        return (generator.random(shape, np.float32) * 2 - 1) * np.float32(bound)

    return draw
