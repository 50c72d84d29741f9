"""What ``mindloom sample`` reads besides prompts: what weights say about themselves, and initial latents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import UserError
from mindloom.folders import saved_config
from mindloom.parsing import read_yaml

from ..layouts.fitting import nearest
from ..layouts.opening import open_weights
from ..layouts.trained import Trained
from ..presets import PRESETS, Preset

OF_LOADING = ("vae", "strict", "missing")
"""Settings of a run that say how its first weights were loaded: what it saved needs none of them."""
OBJECTIVES = {"v_prediction": "v"}


def known_settings(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings of the task that weights bring along, the surest last, each with where they come from.

    Preset by the tensors' shapes; objective by what a file or folder says of itself; and everything by the config of
    the run that a checkpoint is part of.

    Raises:
        UserError: there are no weights, or they cannot be read.
    """
    weights = open_weights(path)
    preset, _ = nearest(weights.shapes)
    if preset in PRESETS:
        yield f"the shapes in {path}", {"preset": preset}
    yield f"said by {path}", objective(weights.trained)
    path = path.expanduser()
    config = saved_config(str(path if path.is_dir() else path.parent))
    section = (read_yaml(config).get("plugins") or {}).get("sdxl") if config else None
    if isinstance(section, dict):
        yield str(config), {key: value for key, value in section.items() if key not in OF_LOADING}


def objective(trained: Trained) -> dict[str, Any]:
    """What training said, in the task's words. What is not known here is refused by the task."""
    kind = OBJECTIVES.get(trained.prediction, trained.prediction)
    found: dict[str, Any] = {"objective": kind, "zero_terminal_snr": kind == "v" and trained.zero_terminal_snr}
    if kind == "edm":
        found |= {"latents_mean": list(trained.mean), "latents_std": list(trained.std)}
    return found


def initial_latents(path: Path, preset: Preset, pictures: int) -> np.ndarray:
    """Read latents for every picture, or the same ones for all: float32 ``[n, 4, h, w]``.

    Raises:
        UserError: it is no ``.npy``, or of a shape or dtype that is none of latents'.
    """
    try:
        latents = np.load(path.expanduser(), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise UserError(f"--latents {path} cannot be read ({reason}): give a .npy of numpy.save") from None
    latents = latents[None] if getattr(latents, "ndim", 0) == 3 else latents
    channels = preset.unet.in_channels
    if (
        not isinstance(latents, np.ndarray)
        or latents.dtype.kind != "f"
        or latents.shape[1:2] != (channels,)
        or latents.ndim != 4
        or len(latents) not in (1, pictures)
    ):
        shape = list(getattr(latents, "shape", []))
        raise UserError(f"--latents {path} holds {shape}: give floats of shape [{pictures}, {channels}, h, w]")
    return np.repeat(latents.astype(np.float32), pictures // len(latents), 0)


def fitting_size(size: tuple[int, int], preset: Preset, noise: np.ndarray | None, asked: bool) -> tuple[int, int]:
    """Height and width of the pictures, which initial latents fix.

    Raises:
        UserError: the networks cannot make that size, or the latents have another one.
    """
    factor = preset.vae.factor
    if noise is not None:
        found = noise.shape[2] * factor, noise.shape[3] * factor
        if asked and found != size:
            raise UserError(
                f"--size is {size[1]}x{size[0]}, but the latents are for {found[1]}x{found[0]}: drop --size"
            )
        size = found
    unit = factor * 2 ** (len(preset.unet.mult) - 1)
    if any(side % unit or not side for side in size):
        raise UserError(f"pictures of {size[1]}x{size[0]} cannot be drawn: both sides must be multiples of {unit}")
    return size
