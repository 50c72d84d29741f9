"""Pictures from captions: the Euler sampler with classifier-free guidance, over one compiled graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .schedule import TIMESTEPS, sigmas

Denoise = Callable[[np.ndarray, int], np.ndarray]


def euler_steps(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps int32 ``[steps]`` from noisy to clean, and their σ float32 ``[steps + 1]``, which end in 0.

    "Leading" spacing with an offset of one, as in SDXL base's own scheduler settings (table 2 of Lin et al. 2024;
    ``EulerDiscreteScheduler`` of diffusers).
    """
    timesteps = np.arange(steps)[::-1] * (TIMESTEPS // steps) + 1
    # With 1000 steps the offset would lead one past the end of the table.
    timesteps = np.minimum(timesteps, TIMESTEPS - 1).astype(np.int32)
    return timesteps, np.append(sigmas()[timesteps], 0.0).astype(np.float32)


def euler(denoise: Denoise, noise: np.ndarray, steps: int) -> np.ndarray:
    """Follow dx/dσ = ε(x, σ) from the largest σ to 0 (Karras et al. 2022, algorithm 1 without correction).

    Args:
        denoise: ``(latents, timestep)`` -> predicted ε; the latents are scaled to unit variance, the timestep
            is one of 0..999.
        noise: ε ~ N(0, 1), float32 ``[batch, 4, height/8, width/8]``.
        steps: number of calls to ``denoise``.

    Returns:
        Latents like ``noise``, in the scale in which the model was trained.
    """
    timesteps, levels = euler_steps(steps)
    latents = noise * np.sqrt(levels[0] ** 2 + 1)
    for timestep, level, following in zip(timesteps.tolist(), levels[:-1], levels[1:], strict=True):
        predicted = denoise(latents / np.sqrt(level**2 + 1), timestep)
        latents = latents + predicted * (following - level)
    return latents


def initial_noise(seed: int, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The same for a picture whatever the batch that it is drawn in."""
    return np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
