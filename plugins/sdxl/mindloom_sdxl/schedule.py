"""SDXL's noise schedule: how much of a picture is left at each of the 1000 timesteps, as float64 tables."""

from __future__ import annotations

import numpy as np

TIMESTEPS = 1000


def alphas_cumprod() -> np.ndarray:
    """ᾱ_t, ``[1000]``: the share of the signal's variance (Ho et al. 2020, section 2).

    β is "scaled linear", √β running evenly from √0.00085 to √0.012 (Rombach et al. 2022; ``make_beta_schedule`` of
    Stability-AI/generative-models). Not zero-terminal: ᾱ_999 = 0.00466.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=np.float64) ** 2
    return np.cumprod(1.0 - betas)


def sigmas() -> np.ndarray:
    """σ_t = √((1 - ᾱ)/ᾱ), ``[1000]``: noise per signal in the variance-exploding form (Karras et al. 2022)."""
    kept = alphas_cumprod()
    return np.sqrt((1.0 - kept) / kept)


def mixing() -> tuple[np.ndarray, np.ndarray]:
    """√ᾱ and √(1 - ᾱ), each ``[1000]``: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε (Ho et al. 2020, equation 4)."""
    kept = alphas_cumprod()
    return np.sqrt(kept), np.sqrt(1.0 - kept)
