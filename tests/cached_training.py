"""Trains the smallest SDXL there can be, with and without kept features; also a script for a process under msrun."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.check import Report
from mindloom.check import check as compile_for
from mindloom.discovery import discover
from mindloom.layers import Layers
from mindloom.registry import Registry
from mindloom.schema import setting
from mindloom.session import configure, execute
from mindloom.testing import Recorder, Shelf
from mindloom_sdxl.testing import MICRO, SETTINGS, micro
from omegaconf import DictConfig
from PIL import Image


class Dots(Plugin):
    """Eight small pictures of noise, and captions; one of them may be damaged."""

    @dataclass
    class Config:
        broken: int = setting(-1, "index of the damaged picture")

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Offer them."""
        return {"dots": lambda path, world: self}

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = np.random.default_rng(index).integers(0, 256, (70, 90 + 10 * (index % 2), 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        data = file.getvalue()[: 40 if index == self.cfg.broken else None]
        return {"image": data, "caption": f"a {'very ' * index}red circle", "id": f"dot-{index}"}


def write_weights(path: Path) -> None:
    """Random weights without the zeros that would make a fresh UNet blind to its inputs."""
    import mindspore as ms
    from mindloom_sdxl.cells.model import SDXLModel
    from mindloom_sdxl.weights import save_weights

    ms.set_seed(1)
    model, generator = SDXLModel(MICRO), np.random.default_rng(0)
    for param in model.get_parameters():
        if param.ndim > 1 and not param.asnumpy().any():
            param.set_data(ms.Tensor(generator.normal(0, 0.2, param.shape).astype(np.float32)))
    save_weights(model, path)


def train(
    folder: Path,
    weight: Path | None,
    plugins: Mapping[str, dict[str, Any]],
    others: Mapping[str, type[Plugin]] = {},
    **core: Any,
) -> Recorder:
    """Run four steps with everything random switched on, and return what was recorded.

    Args:
        plugins: bundled plugins -> settings, besides the task; those of the task are added to its own.
        others: more plugins, by name.
        core: the core's settings.
    """
    cfg, registry = configured(folder, weight, plugins, others, core)
    assert execute(cfg, registry) == 0
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    return recorder


def check(plugins: Mapping[str, dict[str, Any]]) -> Report:
    """Compile the step for another device, without data, weights and values."""
    return compile_for(*configured(Path("."), None, plugins, {}, {"device": {"target": "Ascend"}}))


def configured(
    folder: Path,
    weight: Path | None,
    plugins: Mapping[str, dict[str, Any]],
    others: Mapping[str, type[Plugin]],
    core: Mapping[str, Any],
) -> tuple[DictConfig, Registry]:
    """The config and plugins of a run."""
    names = ["sdxl", *(name for name in plugins if name not in ("sdxl", "dots"))]
    task = {**SETTINGS, "flip": 0.5, "caption_dropout": 0.4, "offset_noise": 0.1}
    layers = Layers()
    given = {
        "max_steps": 4, "per_batch_size": 2, "log_interval": 1, "save_path": str(folder), "save_path_with_time": False,
        "weight": str(weight or ""), "data": {"path": str(folder.parent)}, "optim": {"lr": 1e-3},
        "plugins": {**plugins, "sdxl": {**task, **plugins.get("sdxl", {})}},
    }  # fmt: skip
    layers.set(given, "test")
    layers.set(dict(core), "test")
    available = discover()
    classes: dict[str, type[Plugin]] = {name: available[name].load() for name in names}
    return configure(layers, {**classes, "dots": Dots, "recorder": Recorder, "shelf": Shelf, **others})


def main(folder: Path) -> None:
    """Train on this rank with the cache in ``folder`` and write the losses."""
    plugins: dict[str, dict[str, Any]] = {
        "cache": {"folder": str(folder / "cache")},
        "ddp": {},
        "fp16": {"mode": "amp"},
    }
    with micro():
        recorder = train(
            folder / "run", folder / "weights.safetensors", {**plugins, "sink": {"size": 2}},
            per_batch_size=1, gradient_accumulation_steps=2, log_interval=2,
        )  # fmt: skip
    (folder / f"losses.{os.environ['RANK_ID']}.json").write_text(json.dumps(recorder.losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
