"""The reference: diffusers' and transformers' own models, and what mindloom reads from the folder that they save."""

# ruff: noqa: E402  (what judges may be missing, and must be asked for before what is judged is imported)

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

# Asked for here once, so that every test module that imports this one is skipped where the judges are missing.
torch = pytest.importorskip("torch", reason="parity is judged by PyTorch")
diffusers = pytest.importorskip("diffusers", reason="parity is judged by diffusers")
transformers = pytest.importorskip("transformers", reason="parity is judged by transformers")

from mindloom_sdxl.cells.model import SDXLModel
from mindloom_sdxl.layouts import configs
from mindloom_sdxl.layouts.names import PARTS
from mindloom_sdxl.presets import TINY
from mindloom_sdxl.vocabulary import find_vocabulary
from mindloom_sdxl.weights import load_weights
from mindspore.nn.utils import no_init_parameters

Arrays = dict[str, np.ndarray]

WORDS = 49408
"""CLIP's whole vocabulary, so that captions are tokenized as for the released model."""
PRESET = replace(
    TINY,
    name="parity",
    # Deeper at the lowest level, so that depths differ as they do in the base model.
    unet=replace(TINY.unet, depths=(0, 1, 2), middle_depth=2),
    # Three layers, so that what SDXL reads is neither the first one's output nor the last one's.
    clip_l=replace(TINY.clip_l, vocabulary=WORDS, pad_id=WORDS - 1, layers=3),
    clip_g=replace(TINY.clip_g, vocabulary=WORDS, layers=3),
    resolution=64,
)
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""stabilityai/stable-diffusion-xl-base-1.0, scheduler/scheduler_config.json."""
SAMPLING = {**SCHEDULE, "timestep_spacing": "leading", "steps_offset": 1}


def randomize(module: Any, scale: float, seed: int) -> None:
    """Give every parameter numbers of its own: norm weights around 1, all else around 0.

    Fresh networks hold zeros and ones at many places, so that a test on them proves little. With a small ``scale``
    features are small, and a wrong epsilon in a norm is seen.
    """
    draw = np.random.default_rng(seed)
    for name, parameter in module.named_parameters():
        values = draw.normal(0, scale, tuple(parameter.shape)).astype(np.float32)
        if parameter.ndim == 1 and name.endswith("weight"):
            values += 1
        parameter.data = torch.from_numpy(values)


def tokenizers() -> tuple[Any, Any]:
    """CLIP's, which pads with the end of text, and the same with the padding of SDXL's second one."""
    vocabulary, merges = find_vocabulary("", "base")
    made = [
        transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)
        for pad in ("<|endoftext|>", "!")
    ]
    return made[0], made[1]


def pipeline() -> Any:
    """A whole ``StableDiffusionXLPipeline`` of the preset with random weights."""
    said = configs.of(PRESET)
    first, second = tokenizers()
    parts = {
        "unet": diffusers.UNet2DConditionModel.from_config(said["unet"]),
        "vae": diffusers.AutoencoderKL.from_config(said["vae"]),
        "text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**said["text_encoder"])),
        "text_encoder_2": transformers.CLIPTextModelWithProjection(
            transformers.CLIPTextConfig(**said["text_encoder_2"])
        ),
    }
    for seed, (name, part) in enumerate(parts.items()):
        randomize(part.eval(), 0.02 if name == "unet" else 0.1, seed)
    scheduler = diffusers.EulerDiscreteScheduler(**SAMPLING)
    pipe = diffusers.StableDiffusionXLPipeline(**parts, tokenizer=first, tokenizer_2=second, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def read(folder: Path) -> SDXLModel:
    """Our model with the weights that diffusers saved."""
    with no_init_parameters():
        model = SDXLModel(PRESET)
    load_weights(model, folder)
    return model


def saved(pipe: Any, folder: Path) -> Path:
    """The pipeline written by diffusers itself."""
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def modules(pipe: Any) -> SimpleNamespace:
    """The parts of a pipeline by the names of their folders."""
    return SimpleNamespace(**{part: getattr(pipe, part) for part in PARTS})


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """float32 numbers of N(0, scale²)."""
    return scale * np.random.default_rng(seed).standard_normal(shape, np.float32)


def tensors(values: Iterable[np.ndarray]) -> list[Any]:
    """For PyTorch."""
    return [torch.from_numpy(value) for value in values]
