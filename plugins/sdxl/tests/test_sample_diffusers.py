"""What is exported opens in diffusers' pipeline and gives the picture that ``mindloom sample`` gives."""

# ruff: noqa: E402  (what judges may be missing, and must be asked for before anything imports it)

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity is judged by PyTorch")
diffusers = pytest.importorskip("diffusers", reason="parity is judged by diffusers")
transformers = pytest.importorskip("transformers", reason="parity is judged by transformers")

import mindloom_sdxl
from mindloom import cli
from PIL import Image

pytestmark = pytest.mark.slow
TINY = Path(mindloom_sdxl.__file__).parent / "assets" / "tiny.safetensors"
PROMPTS = ["a red disc on a light background", "a blue square"]
STEPS = 8


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, which was trained here, as a diffusers folder and as a single file."""
    folder = tmp_path_factory.mktemp("exported")
    assert cli.main(["weights", "convert", str(TINY), str(folder / "model"), "--to", "diffusers"]) == 0
    assert cli.main(["weights", "convert", str(TINY), str(folder / "one.safetensors"), "--to", "single"]) == 0
    return folder


def ours(folder: Path, weights: Path, noise: np.ndarray, *flags: str) -> tuple[np.ndarray, np.ndarray]:
    """Latents, and the pictures as floats 0..1."""
    np.save(folder / "noise.npy", noise)
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    places = ["--latents", str(folder / "noise.npy"), "--save_latents", str(folder / "out.npy"), "--out", str(folder)]
    sampled = ["sample", "--weights", str(weights), *prompts, *places, "--steps", str(STEPS), "--batch", "2", *flags]
    assert cli.main(sampled) == 0
    pictures = [np.asarray(Image.open(folder / f"0000{i}.png")) / 255 for i in range(len(PROMPTS))]
    return np.load(folder / "out.npy"), np.stack(pictures)


def theirs(pipe: Any, noise: np.ndarray, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    pipe.set_progress_bar_config(disable=True)
    height, width = (8 * side for side in noise.shape[2:])
    latents = pipe(
        PROMPTS, num_inference_steps=STEPS, latents=torch.from_numpy(noise), height=height, width=width,
        output_type="latent", **settings,
    ).images  # fmt: skip
    with torch.no_grad():
        pixels = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return latents.numpy(), pipe.image_processor.postprocess(pixels, output_type="np")


def assert_same(mine: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> None:
    error = np.abs(mine[0] - reference[0]).max() / np.abs(reference[0]).max()
    assert error < 1e-3, f"latents: relative error {error:.1e}"
    assert np.abs(mine[1] - reference[1]).max() <= 1.5 / 255


def test_a_folder_gives_the_same_picture_in_diffusers(exported: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 4, 16, 16), np.float32)
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(exported / "model", local_files_only=True)
    pipe = pipe.to(torch.float32)
    assert_same(ours(tmp_path, exported / "model", noise), theirs(pipe, noise, guidance_scale=5.0))


def test_a_single_file_does_with_every_other_setting(exported: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 4, 12, 16), np.float32)
    second = exported / "model" / "text_encoder_2"
    # diffusers tells the two encoders apart by their width, which is the same in tiny: the second one is handed over.
    pipe = diffusers.StableDiffusionXLPipeline.from_single_file(
        str(exported / "one.safetensors"), config=str(exported / "model"), local_files_only=True,
        text_encoder_2=transformers.CLIPTextModelWithProjection.from_pretrained(second),
    ).to(torch.float32)  # fmt: skip
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    mine = ours(
        tmp_path, exported / "one.safetensors", noise, "--negative", "a star", "--guidance", "3",
        "--scheduler", "euler_karras", "--original_size", "300x200", "--crop", "7,40", "--target_size", "140x100",
    )  # fmt: skip
    reference = theirs(
        pipe, noise, guidance_scale=3.0, negative_prompt=["a star"] * 2, original_size=(200, 300),
        crops_coords_top_left=(7, 40), target_size=(100, 140),
    )  # fmt: skip
    assert_same(mine, reference)
