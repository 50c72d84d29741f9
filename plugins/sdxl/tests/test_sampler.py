"""The sampler follows SDXL base's scheduler."""

from __future__ import annotations

import numpy as np
import pytest
from mindloom_sdxl.sampler import euler, euler_steps, initial_noise


def fake_model(latents: np.ndarray, timestep: int) -> np.ndarray:
    return np.sin(latents) * 0.9 + np.float32(timestep / 2000)


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 30, 50])
def test_trajectory_equals_diffusers(steps: int) -> None:
    pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    import torch

    # stabilityai/stable-diffusion-xl-base-1.0, scheduler/scheduler_config.json
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        interpolation_type="linear",
        prediction_type="epsilon",
    )
    scheduler.set_timesteps(steps)
    noise = initial_noise(0, 0, (2, 4, 8, 8))
    latents = torch.from_numpy(noise) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        predicted = torch.from_numpy(fake_model(scaled.numpy(), int(timestep)))
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    np.testing.assert_allclose(euler(fake_model, noise, steps), latents.numpy(), rtol=2e-4, atol=2e-5)


def test_a_model_that_knows_the_noise_recovers_the_picture() -> None:
    picture = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    timesteps, levels = euler_steps(25)
    level_of = dict(zip(timesteps.tolist(), levels.tolist(), strict=False))

    def know(latents: np.ndarray, timestep: int) -> np.ndarray:
        level = level_of[timestep]
        return (latents * np.sqrt(level**2 + 1) - picture) / level

    np.testing.assert_allclose(euler(know, initial_noise(0, 0, picture.shape), 25), picture, atol=1e-4)


def test_steps_stay_inside_the_table() -> None:
    for steps in (1, 3, 999, 1000):
        timesteps, levels = euler_steps(steps)
        assert timesteps.min() >= 0
        assert timesteps.max() <= 999
        assert levels.shape == (steps + 1,)
        assert levels[-1] == 0


def test_initial_noise_belongs_to_seed_and_picture() -> None:
    assert (initial_noise(1, 2, (4,)) == initial_noise(1, 2, (4,))).all()
    assert (initial_noise(1, 2, (4,)) != initial_noise(1, 3, (4,))).all()
    assert (initial_noise(1, 2, (4,)) != initial_noise(2, 2, (4,))).all()
