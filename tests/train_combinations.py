"""Trains the smallest SDXL there can be with some of {flash_attn, fp16, native, sink, ddp}, as often as it is told.

One process trains several combinations in turn, because starting one costs as much as compiling a graph. Under msrun
every process runs this, with ddp in each combination.
"""

from __future__ import annotations

import io
import json
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.discovery import discover
from mindloom.layers import Layers
from mindloom.session import configure, execute
from mindloom.testing import Recorder
from mindloom_sdxl.testing import SETTINGS as SMALLEST
from mindloom_sdxl.testing import micro
from PIL import Image

SIZE = 2
STEPS = 4
SETTINGS: dict[str, Any] = {
    "sdxl": SMALLEST,
    "sink": {"size": SIZE},
    "fp16": {"mode": "amp"},
}


class Dots(Plugin):
    """Eight small pictures of noise, and captions."""

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Offer them."""
        return {"dots": lambda path, world: self}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = np.random.default_rng(index).integers(0, 256, (24, 20, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return {"image": file.getvalue(), "caption": f"a {'very ' * index}red circle", "id": str(index)}


def train(folder: Path, features: list[str], world: int, mode: str) -> dict[str, Any]:
    """Train from random weights, which the seed fixes; return the logged losses and a checksum of the weights."""
    available = discover()
    names = ["sdxl", *features]
    classes: dict[str, type[Plugin]] = {name: available[name].load() for name in names}
    layers = Layers()
    sections: dict[str, Any] = {name: dict(SETTINGS.get(name, {})) for name in names}
    if "fp16" in sections:
        sections["fp16"]["mode"] = mode
    layers.set(
        {
            "max_steps": STEPS,
            "per_batch_size": 2 // world,
            "log_interval": SIZE,
            "save_path": str(folder),
            "save_path_with_time": False,
            "data": {"path": str(folder.parent)},
            "optim": {"lr": 1e-3},
            "plugins": sections,
        },
        "test",
    )
    cfg, registry = configure(layers, {**classes, "dots": Dots, "recorder": Recorder})
    assert execute(cfg, registry) == 0
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    weights = 0
    for array in recorder.weights.values():
        weights = zlib.crc32(np.ascontiguousarray(array).tobytes(), weights)
    return {"losses": recorder.losses, "weights": weights}


def main(folder: Path, world: int) -> None:
    """Run what ``jobs.json`` names and write ``results.<rank>.json``."""
    jobs = json.loads((folder / "jobs.json").read_text())
    with micro():
        results = {name: train(folder / name, job["features"], world, job["mode"]) for name, job in jobs.items()}
    (folder / f"results.{os.environ.get('RANK_ID', '0')}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
