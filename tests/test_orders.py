"""The order of ``--plugins`` changes nothing: all that can run together, shuffled, leaves the same bits behind."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from mindloom.discovery import discover
from mindloom.testing import Fitted, Pictures, fit
from PIL import Image

pytestmark = pytest.mark.together
SETTINGS = {
    "csv": {},
    "wids": {},
    "webdataset": {},
    "checkpoint": {"every": 2},
    "console": {},
    "ema": {"decay": 0.9},
    "fp16": {"mode": "amp"},
    "sink": {"size": 2},
    "tensorboard": {},
    "validate": {"data_path": "held-out", "every": 2, "samples": 2},
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Nine captioned pictures to train on, and two held out."""
    for name, count in (("data", 9), ("held-out", 2)):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(count):
            noise = np.random.default_rng(index).integers(0, 256, (40, 36, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{index}.png")
            (folder / f"{index}.txt").write_text(f"noise {index}")
    return tmp_path


def train(folder: Path, names: list[str]) -> Fitted:
    available = discover()
    folder.mkdir()
    return fit(
        folder,
        {name: available[name].load() for name in names},
        steps=4,
        task=Pictures,
        log_interval=2,
        data={"path": "data", "format": "csv"},
        plugins={name: SETTINGS[name] for name in names},
    )


def test_plugins_in_any_order_give_the_same_bits(pictures: Path) -> None:
    first = train(pictures / "as listed", list(SETTINGS))
    assert len(first.losses) == 2
    for number in range(3):
        names = random.Random(number).sample(list(SETTINGS), len(SETTINGS))
        other = train(pictures / str(number), names)
        assert other.losses == first.losses, names
        assert other.weights.keys() == first.weights.keys()
        assert all((weight == first.weights[name]).all() for name, weight in other.weights.items()), names
        for part in ("model.safetensors", "optimizer.safetensors", "ema.safetensors"):
            written = [sorted(path.rglob(f"step-*4/{part}")) for path in (first.path, other.path)]
            assert len(written[0]) == len(written[1]) == 1, part
            assert written[0][0].read_bytes() == written[1][0].read_bytes(), (part, names)
        assert read(other) == read(first), names


def read(run: Fitted) -> list[dict[str, float]]:
    """All that was logged, but how long it took."""
    return [
        {key: v for key, v in record.items() if "second" not in key and "scale" not in key} for record in run.records
    ]
