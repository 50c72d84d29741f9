"""A kit for tests of plugins: a toy task that trains in a second, and ``fit`` to run it with the plugins under test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..layers import Layers
from ..plugin import Plugin
from ..session import configure, execute
from .pictures import Pictures, Watch
from .toy import Numbers, Toy, ToyTask
from .watching import Recorder, Shelf

__all__ = ["Fitted", "Numbers", "Pictures", "Recorder", "Shelf", "Toy", "ToyTask", "Watch", "fit"]


@dataclass
class Fitted:
    """What a run left behind."""

    exit_code: int
    losses: list[float]
    weights: dict[str, np.ndarray]
    records: list[dict[str, float]]
    path: Path
    plugins: dict[str, Plugin] = field(default_factory=dict)


def fit(
    folder: Path,
    plugins: Mapping[str, type[Plugin]] | Sequence[type[Plugin]] = (),
    /,
    steps: int = 4,
    task: type[Plugin] = Toy,
    **settings: Any,
) -> Fitted:
    """Train the toy task, in this process, and return what came out.

    Args:
        folder: where the run folder ``run`` is made; also the (empty) data folder.
        plugins: classes under test, by name or named by their class.
        steps: ``max_steps``.
        task: the plugin that makes the task; ``Pictures`` for formats.
        settings: further settings, nested; ``plugins={"name": {...}}`` for those of plugins.

    Raises:
        UserError, TrainingError: as a run does.
    """
    named = dict(plugins) if isinstance(plugins, Mapping) else {found.__name__.lower(): found for found in plugins}
    classes: dict[str, type[Plugin]] = {task.__name__.lower(): task, **named, "recorder": Recorder}
    layers = Layers()
    layers.set(
        {
            "max_steps": steps,
            "per_batch_size": 2,
            "log_interval": 1,
            "save_path": str(folder / "run"),
            "save_path_with_time": False,
            "data": {"path": str(folder)},
            "optim": {"lr": 0.01},
        },
        "fit",
    )
    layers.set(settings, "test")
    logging.getLogger("mindloom").setLevel(logging.INFO)
    cfg, registry = configure(layers, classes)
    code = execute(cfg, registry)
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    return Fitted(code, recorder.losses, recorder.weights, recorder.records, recorder.run.path, registry.plugins)
