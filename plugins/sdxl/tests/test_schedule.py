"""The noise schedule is SDXL's."""

from __future__ import annotations

import numpy as np
import pytest
from mindloom_sdxl.schedule import alphas_cumprod, mixing, sigmas


def test_anchors_of_the_published_schedule() -> None:
    """σ_0 = 0.0292 and σ_999 = 14.6146 are the sigma_min and sigma_max of Stability-AI/generative-models' SDXL."""
    kept, noise = alphas_cumprod(), sigmas()
    assert kept.dtype == noise.dtype == np.float64
    assert kept[0] == pytest.approx(0.99915, rel=1e-9)
    assert kept[999] == pytest.approx(0.0046601, abs=1e-7)
    assert noise[0] == pytest.approx(0.0291672, abs=1e-7)
    assert noise[999] == pytest.approx(14.61464, abs=1e-5)


@pytest.mark.parametrize(("snr", "first"), [(1, 354), (5, 147), (20, 50)])
def test_first_timestep_below_a_signal_to_noise_ratio(snr: float, first: int) -> None:
    assert int(np.argmax(1 / sigmas() ** 2 < snr)) == first


def test_mixing_keeps_the_variance() -> None:
    signal, noise = mixing()
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-12)
    np.testing.assert_allclose(noise / signal, sigmas(), rtol=1e-12)
