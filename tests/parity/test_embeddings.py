"""Time and vector embeddings against diffusers."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom_sdxl.cells.embedding import MicroConditioning, Sinusoid

from .reference import PRESET, normal, torch
from .trail import assert_same, of_mindspore

TIMESTEPS = np.array([0, 1, 17, 500, 980.25, 999, -1.55], np.float32)
"""Those of training, of a sampler between two of them, and ln(σ)/4 of EDM."""
TIME_IDS = np.array([[1024, 768, 0, 13, 1024, 1024], [333, 4096, 7, 0, 128, 128]], np.float32)

LIMIT = 1e-4
"""Angles go up to 4096 radians, where neighbouring float32 are 5e-4 apart."""


@pytest.mark.parametrize("dim", [32, 320])
def test_sinusoids_of_timesteps(eager: None, pipe: Any, dim: int) -> None:
    """``flip_sin_to_cos`` and ``freq_shift`` are the model's own."""
    project = type(pipe.unet.time_proj)(dim, pipe.unet.config.flip_sin_to_cos, pipe.unet.config.freq_shift)
    ours = {"sinusoids": of_mindspore(Sinusoid(dim)(ms.Tensor(TIMESTEPS)))}
    assert_same(ours, {"sinusoids": project(torch.tensor(TIMESTEPS)).numpy()}, "embeddings: sinusoids", LIMIT)


def test_time_embedding(eager: None, model: Any, pipe: Any) -> None:
    unet = model.unet
    ours = {"sinusoids": unet.sinusoid(ms.Tensor(TIMESTEPS))}
    ours["embedding"] = unet.time_embed(ours["sinusoids"])
    with torch.no_grad():
        theirs = {"sinusoids": pipe.unet.time_proj(torch.tensor(TIMESTEPS))}
        theirs["embedding"] = pipe.unet.time_embedding(theirs["sinusoids"])
    assert_same(_arrays(ours), _arrays(theirs), "embeddings: time", LIMIT)


def test_vector_embedding_of_pooled_text_and_sizes(eager: None, model: Any, pipe: Any) -> None:
    pooled = normal(1, 2, PRESET.clip_g.width)
    sizes = MicroConditioning(PRESET.size_dim)(ms.Tensor(TIME_IDS))
    vector = np.concatenate((pooled, of_mindspore(sizes)), -1)
    ours = {"sizes": sizes, "vector": ms.Tensor(vector), "embedding": model.unet.label_emb(ms.Tensor(vector))}
    with torch.no_grad():
        known = pipe.unet.add_time_proj(torch.tensor(TIME_IDS).flatten()).reshape(2, -1)
        joined = torch.cat((torch.tensor(pooled), known), -1)
        theirs = {"sizes": known, "vector": joined, "embedding": pipe.unet.add_embedding(joined)}
    assert_same(_arrays(ours), _arrays(theirs), "embeddings: vector", LIMIT)


def _arrays(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: np.array(value.numpy() if torch.is_tensor(value) else value.asnumpy()) for name, value in values.items()
    }
