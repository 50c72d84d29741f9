"""The Euler sampler in NumPy: which noise levels it visits, and how it steps, whatever the network predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from .schedule import TIMESTEPS, alphas_cumprod

Network = Callable[[np.ndarray, float], np.ndarray]
"""``(scaled latents, timestep)`` -> what the network predicts, like the latents."""

SCHEDULERS = ("euler", "euler_karras")
RHO = 7.0
EDM_SIGMAS = (0.002, 80.0)
"""Smallest and largest σ (Karras et al. 2022, table 1)."""
EDM_DATA = 0.5


class Scaling(NamedTuple):
    """Denoised latents are ``skip * x + out * F(into * x)`` (Karras et al. 2022, equation 7)."""

    skip: float
    out: float
    into: float


def epsilon(sigma: float) -> Scaling:
    """The network predicts the noise: D = x - σ F (Ho et al. 2020)."""
    return Scaling(1.0, -sigma, 1 / math.sqrt(sigma**2 + 1))


def velocity(sigma: float) -> Scaling:
    """The network predicts v = √ᾱ ε - √(1 - ᾱ) x_0 (Salimans and Ho 2022, appendix D), with √ᾱ = 1/√(σ² + 1)."""
    into = 1 / math.sqrt(sigma**2 + 1)
    return Scaling(into**2, -sigma * into, into)


def edm(sigma: float) -> Scaling:
    """Karras et al. 2022, table 1."""
    total = sigma**2 + EDM_DATA**2
    return Scaling(EDM_DATA**2 / total, sigma * EDM_DATA / math.sqrt(total), 1 / math.sqrt(total))


PREDICTIONS: dict[str, Callable[[float], Scaling]] = {"epsilon": epsilon, "v": velocity, "edm": edm}
"""What a network may predict -> how its output becomes denoised latents at a noise level."""


class Levels(NamedTuple):
    """The noise levels of a trajectory, from noisy to clean."""

    sigmas: tuple[float, ...]
    """``steps + 1`` of them; the last one is 0."""
    timesteps: tuple[float, ...]
    """``steps`` of them: what the network is told."""
    initial: float
    """What unit noise is multiplied by to begin with."""


def levels(steps: int, scheduler: str = "euler", prediction: str = "epsilon", zero_terminal: bool = False) -> Levels:
    """The levels that diffusers' schedulers visit with SDXL's settings.

    ``euler``: "leading" spacing with an offset of one, as in SDXL base's own scheduler settings; a zero-terminal
    schedule has "trailing" spacing, so that it begins with the pure noise of its training (Lin et al. 2024, table 2).
    ``euler_karras``: from the largest to the smallest of those, evenly in σ^(1/7) (Karras et al. 2022, equation 5);
    timesteps are then fractions of the table's. EDM has that spacing always, from 80 to 0.002, and the network is told
    ln(σ)/4.
    """
    if prediction == "edm":
        visited = karras(EDM_SIGMAS[1], EDM_SIGMAS[0], steps)
        timesteps = np.log(visited) / 4
    else:
        table = noise_levels(zero_terminal)
        if zero_terminal:
            timesteps = np.rint(TIMESTEPS - np.arange(steps) * (TIMESTEPS / steps)).astype(int) - 1
        else:
            # With 1000 steps the offset would lead one past the end of the table.
            timesteps = np.minimum(np.arange(steps)[::-1] * (TIMESTEPS // steps) + 1, TIMESTEPS - 1)
        visited = table[timesteps]
        if scheduler == "euler_karras":
            visited = karras(visited[0], visited[-1], steps)
            timesteps = np.interp(np.log(visited), np.log(table), np.arange(TIMESTEPS))
    initial = float(visited[0]) if zero_terminal else math.sqrt(visited[0] ** 2 + 1)
    return Levels((*visited.tolist(), 0.0), tuple(timesteps.astype(np.float64).tolist()), initial)


def noise_levels(zero_terminal: bool) -> np.ndarray:
    """σ_t, float64 ``[1000]``. Where nothing of a picture is left, σ is 4096 instead of infinite, as in diffusers."""
    kept = np.maximum(alphas_cumprod(zero_terminal), 2.0**-24)
    return np.asarray(np.sqrt((1 - kept) / kept))


def karras(largest: float, smallest: float, steps: int) -> np.ndarray:
    """Float64 ``[steps]``; a single step is the largest."""
    roots = np.linspace(largest ** (1 / RHO), smallest ** (1 / RHO), steps)
    return np.asarray(roots**RHO)


def trajectory(network: Network, noise: np.ndarray, visit: Levels, prediction: str = "epsilon") -> Iterator[np.ndarray]:
    """Follow dx/dσ = (x - D(x, σ))/σ down to σ = 0 and yield the latents after every step (Karras et al. 2022, alg. 1).

    Args:
        network: is called once a step, with latents scaled as in its training.
        noise: ε ~ N(0, 1), float32 ``[batch, 4, height/8, width/8]``.
        visit: the noise levels.
        prediction: a key of ``PREDICTIONS``.

    Yields:
        Latents like ``noise``; the last ones have the scale in which the model was trained.
    """
    scaling = PREDICTIONS[prediction]
    latents = noise * np.float32(visit.initial)
    for sigma, following, timestep in zip(visit.sigmas, visit.sigmas[1:], visit.timesteps, strict=False):
        skip, out, into = scaling(sigma)
        denoised = skip * latents + out * network(into * latents, timestep)
        # The same as x + (x - D)/σ (σ' - σ), which loses digits where σ is large.
        latents = denoised + (latents - denoised) * (following / sigma)
        yield latents


def initial_noise(seed: int, index: int, shape: tuple[int, ...]) -> np.ndarray:
    """The same for a picture whatever the batch that it is drawn in."""
    return np.random.default_rng([seed, index]).standard_normal(shape, np.float32)
