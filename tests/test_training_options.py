"""Runs with the options of SDXL's objectives and conditioning: equal with a cache and without, and what trains."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mindloom_sdxl.testing import micro

sys.path.insert(0, str(Path(__file__).parent))
import cached_training as runs

pytestmark = [pytest.mark.together, pytest.mark.timeout(200)]

VELOCITY = {
    "objective": "v",
    "zero_terminal_snr": True,
    "min_snr_gamma": 5.0,
    "timestep_bias": "later",
    "timestep_bias_multiplier": 3.0,
    "dropout_form": "zeros",
    "long_captions": True,
    "caption_chunks": 2,
}
KARRAS: dict[str, Any] = {
    "objective": "edm",
    "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
    "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
}


@pytest.fixture(scope="module", autouse=True)
def _micro() -> Iterator[None]:
    with micro():
        yield


@pytest.fixture(scope="module")
def weight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    runs.write_weights(path)
    return path


@pytest.mark.parametrize("options", [VELOCITY, KARRAS], ids=["v", "edm"])
def test_kept_features_give_the_same_losses(tmp_path: Path, weight: Path, options: dict[str, Any]) -> None:
    cache = {"cache": {"folder": str(tmp_path / "features")}}
    losses = [runs.train(tmp_path / str(len(more)), weight, {"sdxl": options, **more}).losses for more in ({}, cache)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert len(set(losses[0])) == 4


def test_text_encoders_train_with_the_unet_and_cut_captions_are_told(
    tmp_path: Path, weight: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindloom_sdxl.tokens.WORDS", 6)
    with caplog.at_level(logging.WARNING, "mindloom"):
        recorder = runs.train(tmp_path, weight, {"sdxl": {"train_text_encoder": "both", "caption_dropout": 0.0}})
    from safetensors.numpy import load_file

    before = load_file(weight)
    changed = {name for name, array in recorder.weights.items() if (array != before[name]).any()}
    assert {name.split(".")[0] for name in changed} == {"model", "conditioner"}
    text = {name for name in changed if name.startswith("conditioner.")}
    assert any("embedders.0.transformer.text_model.embeddings" in name for name in text)
    assert any("embedders.1.model.transformer.resblocks" in name for name in text)
    assert not [name for name in text if ".layers.0." in name or "logit_scale" in name], "SDXL never reads these"
    assert "captions so far were cut after 6 tokens; plugins.sdxl.long_captions=true reads more" in caplog.text
