"""How noisy a training sample is made: what is drawn for it on the host, and what that column is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .schedule import TIMESTEPS

BIASES = ("none", "earlier", "later", "range")
KARRAS_MEAN, KARRAS_STD = -1.2, 1.2


class Levels(Protocol):
    """Draws how noisy a sample is made. ``column`` names the batch's column, ``dtype`` is its type."""

    @property
    def column(self) -> str: ...

    @property
    def dtype(self) -> type[np.generic]: ...

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        """A scalar."""
        ...


@dataclass(frozen=True)
class Timesteps:
    """t of 0..999, int32, uniform or with ``shares``, probabilities ``[1000]`` as a tuple."""

    shares: tuple[float, ...] = ()
    column = "timesteps"
    dtype = np.int32

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        if self.shares:
            return np.array(rng.choice(TIMESTEPS, p=self.shares), np.int32)
        return np.array(rng.integers(TIMESTEPS), np.int32)


@dataclass(frozen=True)
class Sigmas:
    """σ, float32, with ln σ ~ N(-1.2, 1.2²) (Karras et al. 2022, table 1)."""

    column = "sigmas"
    dtype = np.float32

    def __call__(self, rng: np.random.Generator) -> np.ndarray:
        return np.array(np.exp(rng.normal(KARRAS_MEAN, KARRAS_STD)), np.float32)


UNIFORM = Timesteps()


def biased(bias: str, multiplier: float, portion: float = 0.25, begin: int = 0, end: int = TIMESTEPS) -> np.ndarray:
    """Probability of each timestep, ``[1000]``, where some are ``multiplier`` times as likely as the others.

    These are the first (``earlier``, little noise) or last (``later``) ``portion`` of them, or those of ``begin`` to
    ``end - 1`` (``range``), as in diffusers' ``generate_timestep_weights``.
    """
    count = int(portion * TIMESTEPS)
    favoured = {
        "none": slice(0),
        "earlier": slice(count),
        "later": slice(TIMESTEPS - count, None),
        "range": slice(begin, end),
    }[bias]
    shares = np.ones(TIMESTEPS)
    shares[favoured] *= multiplier
    return shares / shares.sum()
