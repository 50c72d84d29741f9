"""The training computation of every objective, from captioned pictures on, against that of diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mindloom_sdxl.levels import UNIFORM, Sigmas
from mindloom_sdxl.noising import Objective
from mindloom_sdxl.objective import DiffusionLoss
from mindloom_sdxl.tokens import load_tokenizer
from mindloom_sdxl.transform import VAE_CHANNELS, Transform

from .computation import batch, draw_for, ours, theirs
from .reference import PRESET, torch
from .trail import assert_same

POSITIONS = (0, 1)
# playgroundai/playground-v2.5-1024px-aesthetic, vae/config.json
MEAN, STD = (-1.6574, 1.886, -1.383, 2.5155), (8.4927, 5.9022, 6.5498, 5.2299)
OBJECTIVES = {
    "epsilon": Objective(),
    "epsilon, min-SNR": Objective(min_snr_gamma=5),
    "v": Objective("v"),
    "v, min-SNR": Objective("v", min_snr_gamma=5),
    "v, zero-terminal": Objective("v", zero_terminal_snr=True, min_snr_gamma=5),
    "EDM": Objective("edm"),
    "EDM, normalised": Objective("edm", latents_mean=MEAN, latents_std=STD),
}


@pytest.fixture(scope="module")
def transform(folder: Any) -> Transform:
    return Transform(PRESET.resolution, load_tokenizer("", PRESET.name, str(folder)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_all_that_it_is_made_of(model: Any, pipe: Any, transform: Transform, eager: None, name: str) -> None:
    objective = OBJECTIVES[name]
    levels = Sigmas() if objective.name == "edm" else UNIFORM
    columns = batch(Transform(transform.size, transform.tokenizer, levels=levels), POSITIONS)
    # Little noise, where min-SNR weighs little, and nothing but noise.
    columns[levels.column] = np.array([0.05, 80] if objective.name == "edm" else [3, 999], levels.dtype)
    with torch.no_grad():
        expected, _ = theirs(pipe, pipe.unet, columns, objective)
    found = ours(DiffusionLoss(model, objective), columns)
    assert_same(found, expected, f"objective {name}")
    assert found["loss"].shape == ()


def test_offset_noise_shifts_noise_and_target_alike(model: Any, pipe: Any, transform: Transform, eager: None) -> None:
    """``noise += noise_offset * torch.randn((B, C, 1, 1))``, and the shifted noise is the target."""
    plain = batch(transform, POSITIONS)
    shifted = batch(Transform(transform.size, transform.tokenizer, offset_noise=0.05), POSITIONS)
    drawn = [draw_for(p)("offset_noise").standard_normal((VAE_CHANNELS, 1, 1), np.float32) for p in POSITIONS]
    expected, _ = theirs(pipe, pipe.unet, {**plain, "noise": plain["noise"] + 0.05 * np.stack(drawn)}, Objective())
    assert_same(ours(DiffusionLoss(model), shifted), expected, "objective epsilon, offset noise")
    assert np.abs(shifted["noise"] - plain["noise"]).max() > 0.01
