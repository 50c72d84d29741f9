"""The noise schedule's whole tables against diffusers', and the numbers that follow from its published formula."""

from __future__ import annotations

import numpy as np
import pytest
from mindloom_sdxl.sampler import noise_levels
from mindloom_sdxl.schedule import alphas_cumprod, min_snr_weights, mixing, signal_to_noise

from .reference import SAMPLING, SCHEDULE, diffusers, torch
from .trail import assert_same


@pytest.mark.parametrize("zero", [False, True])
def test_tables_equal_diffusers(zero: bool) -> None:
    """The reference computes in float32: where ᾱ is near 1, that leaves 1 - ᾱ four digits."""
    noises = diffusers.DDPMScheduler(1000, **SCHEDULE, rescale_betas_zero_snr=zero)
    sampling = diffusers.EulerDiscreteScheduler(**SAMPLING, rescale_betas_zero_snr=zero)
    signal, noise = mixing(zero)
    ours = {"kept": alphas_cumprod(zero), "signal": signal, "noise": noise, "sigmas": noise_levels(zero)}
    kept = noises.alphas_cumprod
    theirs = {"kept": kept, "signal": kept**0.5, "noise": (1 - kept) ** 0.5}
    theirs = {name: table.numpy() for name, table in theirs.items()}
    theirs["sigmas"] = sampling.sigmas.numpy()[:-1][::-1]
    assert_same(ours, theirs, f"schedule{', zero-terminal' if zero else ''}", limit=1e-4)
    # By each number's own size, not only by the largest.
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_weights_of_every_timestep_equal_diffusers(gamma: float) -> None:
    """``compute_snr`` of diffusers' training_utils, and its script's two forms (Hang et al. 2023, section 3.4)."""
    noises = diffusers.DDPMScheduler(1000, **SCHEDULE)
    snr = diffusers.training_utils.compute_snr(noises, torch.arange(1000))
    capped = snr.clamp(max=gamma)
    ours = {"snr": signal_to_noise(), "ε": min_snr_weights(gamma), "v": min_snr_weights(gamma, velocity=True)}
    theirs = {"snr": snr, "ε": capped / snr, "v": capped / (snr + 1)}
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name].numpy(), rtol=2e-4, err_msg=name)
    assert_same(ours, {name: table.numpy() for name, table in theirs.items()}, "loss weights", limit=2e-4)


def test_signal_to_noise_ratio_has_the_published_ends() -> None:
    """1/σ² of ``sigma_min`` 0.0292 and ``sigma_max`` 14.6146 of Stability-AI/generative-models' SDXL sampling."""
    snr = signal_to_noise()
    assert snr[0] == pytest.approx(1175.47, abs=0.01)
    assert snr[999] == pytest.approx(0.0046819, abs=1e-7)
    assert (np.diff(snr) < 0).all()
    assert snr[0] == pytest.approx(0.0291672**-2, rel=1e-5)
    assert snr[999] == pytest.approx(14.61464**-2, rel=1e-6)
