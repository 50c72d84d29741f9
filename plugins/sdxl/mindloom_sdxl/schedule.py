"""SDXL's noise schedule: how much of a picture is left at each of the 1000 timesteps, as float64 tables."""

from __future__ import annotations

import numpy as np

TIMESTEPS = 1000


def alphas_cumprod(zero_terminal: bool = False) -> np.ndarray:
    """ᾱ_t, ``[1000]``: the share of the signal's variance (Ho et al. 2020, section 2).

    β is "scaled linear", √β running evenly from √0.00085 to √0.012 (Rombach et al. 2022; ``make_beta_schedule`` of
    Stability-AI/generative-models). Not zero-terminal: ᾱ_999 = 0.00466.

    ``zero_terminal`` shifts and stretches √ᾱ so that the last is 0 and the first stays (Lin et al. 2024, algorithm 1):
    pure noise is seen in training as it is in sampling.
    """
    betas = np.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=np.float64) ** 2
    kept = np.cumprod(1.0 - betas)
    if not zero_terminal:
        return kept
    signal = np.sqrt(kept)
    stretched: np.ndarray = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
    return stretched**2


def sigmas() -> np.ndarray:
    """σ_t = √((1 - ᾱ)/ᾱ), ``[1000]``: noise per signal in the variance-exploding form (Karras et al. 2022)."""
    kept = alphas_cumprod()
    return np.sqrt((1.0 - kept) / kept)


def mixing(zero_terminal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """√ᾱ and √(1 - ᾱ), each ``[1000]``: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε (Ho et al. 2020, equation 4)."""
    kept = alphas_cumprod(zero_terminal)
    return np.sqrt(kept), np.sqrt(1.0 - kept)


def signal_to_noise(zero_terminal: bool = False) -> np.ndarray:
    """SNR_t = ᾱ/(1 - ᾱ), ``[1000]``: from 1175.47 to 0.00468, or to 0."""
    kept = alphas_cumprod(zero_terminal)
    return kept / (1.0 - kept)


def min_snr_weights(gamma: float, velocity: bool = False, zero_terminal: bool = False) -> np.ndarray:
    """Weights of the loss, ``[1000]``, that keep the easy timesteps from prevailing (Hang et al. 2023, section 3.4).

    The paper weighs the error of x_0 by min(SNR, γ). The same in other targets: an error of ε is one of x_0 times √SNR,
    so min(SNR, γ)/SNR; an error of v is one of x_0 times √(SNR + 1), so min(SNR, γ)/(SNR + 1).
    """
    snr = signal_to_noise(zero_terminal)
    weights: np.ndarray = np.minimum(snr, gamma) / (snr + 1 if velocity else snr)
    return weights
