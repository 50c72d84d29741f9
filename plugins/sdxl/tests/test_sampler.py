"""The sampler follows the schedulers of diffusers, whatever the network predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mindloom_sdxl.sampler import initial_noise, levels, trajectory

SDXL = {
    # stabilityai/stable-diffusion-xl-base-1.0, scheduler/scheduler_config.json
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading",
    "steps_offset": 1, "interpolation_type": "linear",
}  # fmt: skip
SHAPE = (2, 4, 8, 8)


def network(latents: np.ndarray, timestep: float) -> np.ndarray:
    return np.asarray(np.sin(latents) * 0.9 + np.float32(timestep / 2000))


def judge(prediction: str, scheduler: str, zero_terminal: bool) -> Any:
    diffusers = pytest.importorskip("diffusers")
    if prediction == "edm":
        return diffusers.EDMEulerScheduler()
    config = {
        **SDXL, "prediction_type": {"v": "v_prediction"}.get(prediction, prediction),
        "use_karras_sigmas": scheduler == "euler_karras",
    }  # fmt: skip
    config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_terminal else {}
    return diffusers.EulerDiscreteScheduler(**config)


@pytest.mark.parametrize("steps", [1, 2, 7, 25, 50])
@pytest.mark.parametrize(
    ("prediction", "scheduler", "zero_terminal"),
    [
        ("epsilon", "euler", False), ("epsilon", "euler_karras", False), ("v", "euler", False),
        ("v", "euler_karras", False), ("v", "euler", True), ("edm", "euler", False),
    ],
)  # fmt: skip
def test_every_step_equals_diffusers(prediction: str, scheduler: str, zero_terminal: bool, steps: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = judge(prediction, scheduler, zero_terminal)
    theirs.set_timesteps(steps)
    visit = levels(steps, scheduler, prediction, zero_terminal)
    np.testing.assert_allclose(visit.timesteps, theirs.timesteps.numpy(), rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(visit.sigmas, theirs.sigmas.numpy(), rtol=2e-5)
    noise = initial_noise(0, 0, SHAPE)
    latents = torch.from_numpy(noise) * theirs.init_noise_sigma
    outputs: list[np.ndarray] = []

    def recorded(scaled: np.ndarray, timestep: float) -> np.ndarray:
        outputs.append(network(scaled, timestep))
        return outputs[-1]

    ours = list(trajectory(recorded, noise, visit, prediction))
    assert len(ours) == len(outputs) == steps
    largest = 0.0
    for mine, output, timestep in zip(ours, outputs, theirs.timesteps, strict=True):
        theirs.scale_model_input(latents, timestep)
        largest = max(largest, float(latents.abs().max()))
        latents = theirs.step(torch.from_numpy(output), timestep, latents).prev_sample
        # diffusers steps in float32, whose rounding of the largest numbers so far (σ is 4096 or 80) stays.
        limit = 1e-5 * float(latents.abs().max()) + np.finfo(np.float32).eps * largest
        error = float(np.abs(mine - latents.numpy()).max())
        assert error < limit, f"step to timestep {float(timestep)}: {error:.1e}, more than {limit:.1e}"


@pytest.mark.parametrize("prediction", ["epsilon", "v", "edm"])
@pytest.mark.parametrize("steps", [5, 25])
def test_a_network_that_knows_the_picture_recovers_it(prediction: str, steps: int) -> None:
    """The targets are written out here as the training objectives have them, not as the sampler does."""
    picture = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    visit = levels(steps, "euler", prediction)
    sigma_of = dict(zip(visit.timesteps, visit.sigmas, strict=False))

    def know(scaled: np.ndarray, timestep: float) -> np.ndarray:
        sigma = sigma_of[timestep]
        if prediction == "edm":
            size = np.sqrt(sigma**2 + 0.25)
            noise = (scaled * size - picture) / sigma
            return np.asarray((sigma / 0.5 * picture - 0.5 * noise) / size)
        signal = 1 / np.sqrt(sigma**2 + 1)
        level = sigma * signal
        noise = (scaled - signal * picture) / level
        return np.asarray(noise if prediction == "epsilon" else signal * noise - level * picture)

    *_, last = trajectory(know, initial_noise(0, 0, SHAPE), visit, prediction)
    np.testing.assert_allclose(last, picture, atol=1e-4)


@pytest.mark.parametrize("zero_terminal", [False, True])
def test_steps_stay_inside_the_table(zero_terminal: bool) -> None:
    for steps in (1, 3, 999, 1000):
        visit = levels(steps, prediction="v", zero_terminal=zero_terminal)
        assert min(visit.timesteps) >= 0
        assert max(visit.timesteps) <= 999
        assert len(visit.sigmas) == steps + 1
        assert all(np.isfinite(visit.sigmas))
        assert visit.sigmas[-1] == 0


def test_initial_noise_belongs_to_seed_and_picture() -> None:
    assert (initial_noise(1, 2, (4,)) == initial_noise(1, 2, (4,))).all()
    assert (initial_noise(1, 2, (4,)) != initial_noise(1, 3, (4,))).all()
    assert (initial_noise(1, 2, (4,)) != initial_noise(2, 2, (4,))).all()
