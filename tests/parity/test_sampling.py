"""Sampler trajectories against ``StableDiffusionXLPipeline``: the latents after every step, and the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom_sdxl.noising import Objective
from mindloom_sdxl.preview import Painter
from mindloom_sdxl.tokens import load_tokenizer

from .reference import PRESET, SAMPLING, diffusers, torch
from .trail import Trail, assert_same

PROMPT, NEGATIVE, GUIDANCE = "two cats, asleep on a red sofa", "blurry", 4.0
HEIGHT, WIDTH = 64, 96
ORIGINAL, CORNER, TARGET = (600, 500), (8, 3), (64, 96)
ZERO = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
KINDS: dict[str, tuple[Any, Objective, str]] = {
    "epsilon": (diffusers.EulerDiscreteScheduler(**SAMPLING), Objective(), "euler"),
    "epsilon, Karras": (
        diffusers.EulerDiscreteScheduler(**SAMPLING, use_karras_sigmas=True), Objective(), "euler_karras",
    ),
    "v": (diffusers.EulerDiscreteScheduler(**SAMPLING, prediction_type="v_prediction"), Objective("v"), "euler"),
    "v, zero-terminal": (
        diffusers.EulerDiscreteScheduler(**{**SAMPLING, **ZERO}), Objective("v", zero_terminal_snr=True), "euler",
    ),
    "EDM": (diffusers.EDMEulerScheduler(), Objective("edm"), "euler"),
}  # fmt: skip


@pytest.fixture(scope="module")
def painter(model: Any, folder: Path, graph: None) -> Painter:
    """One for all, so that its graphs are compiled once."""
    return Painter(model, load_tokenizer("", PRESET.name, str(folder)), GUIDANCE)


@pytest.fixture
def drawing(pipe: Any) -> Iterator[Any]:
    """The pipeline, which has its own scheduler back afterwards."""
    before = pipe.scheduler
    yield pipe
    pipe.scheduler = before


def reference(pipe: Any, scheduler: Any, noise: np.ndarray, steps: int, negative: str | None) -> Trail:
    """Latents after every step, and the picture."""
    pipe.scheduler, trail = scheduler, {}

    def keep(_: Any, step: int, __: Any, kept: dict[str, Any]) -> dict[str, Any]:
        trail[f"latents {step + 1}"] = kept["latents"].numpy().copy()
        return kept

    picture = pipe(
        PROMPT, negative_prompt=negative, height=HEIGHT, width=WIDTH, num_inference_steps=steps,
        guidance_scale=GUIDANCE, latents=torch.from_numpy(noise), original_size=ORIGINAL,
        crops_coords_top_left=CORNER, target_size=TARGET, output_type="np", callback_on_step_end=keep,
    ).images  # fmt: skip
    return {**trail, "picture": picture}


@pytest.mark.parametrize("negative", [None, NEGATIVE])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_equals_the_pipelines(painter: Painter, drawing: Any, kind: str, negative: str | None) -> None:
    """Without a negative prompt the pipeline guides away from zeros, as SDXL base is configured."""
    scheduler, painter.objective, painter.scheduler = KINDS[kind]
    noise, steps = painter.noise(7, [0], HEIGHT, WIDTH), 6
    told = painter.tell([PROMPT], np.array([*ORIGINAL, *CORNER, *TARGET]), negative)
    ours = {f"latents {i + 1}": latents.copy() for i, latents in enumerate(painter.steps(told, noise, steps))}
    ours["picture"] = painter.pixels(ours[f"latents {steps}"]) / np.float32(255)
    theirs = reference(drawing, scheduler, noise, steps, negative)
    pictures = {"picture": ours.pop("picture")}, {"picture": theirs.pop("picture")}
    # Another size, caption or guidance moves latents by 1e-4 or more. From σ = 4096, float32 keeps fewer digits.
    limit = 1e-4 if painter.objective.zero_terminal_snr else 1e-5
    assert_same(ours, theirs, f"trajectory {kind}", limit)
    # Ours is rounded to 255 levels.
    np.testing.assert_allclose(pictures[0]["picture"], pictures[1]["picture"], atol=0.5 / 255 + 1e-4)
    assert len(ours) == steps
