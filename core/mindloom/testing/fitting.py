"""``fit``: a whole run of a small task with the plugins under test, in this process, and what it left behind."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..layers import Layers
from ..plugin import Plugin
from ..schema import Config
from ..session import configure, execute
from .calls import Call, listen
from .toy import Toy
from .watching import Recorder

Classes = type[Plugin] | Sequence[type[Plugin]] | Mapping[str, type[Plugin]]
CORE = {found.name for found in fields(Config)}


@dataclass
class Fitted:
    """What a run left behind.

    Attributes:
        exit_code: 0 unless a signal ended it.
        losses: of every logged record.
        weights: the model's parameters at the end.
        records: everything logged, in order.
        path: the run folder.
        plugins: the plugins, closed, by name.
        calls: every hook that was called, of every plugin and of the core.
    """

    exit_code: int
    losses: list[float]
    weights: dict[str, np.ndarray]
    records: list[dict[str, float]]
    path: Path
    plugins: dict[str, Plugin] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def hooks(self, plugin: str = "recorder") -> list[str]:
        """Which hooks of a plugin were called, in order; without a name, every event of the run (``on_...``)."""
        return [call.hook for call in self.calls if call.plugin == plugin]


def fit(folder: Path, plugins: Classes = (), /, steps: int = 4, task: type[Plugin] = Toy, **settings: Any) -> Fitted:
    """Train the toy task, in this process, and return what came out.

    The folder comes first, because every run leaves files::

        done = fit(tmp_path, [Pets, Shelf], steps=4, pets={"legs": 4}, per_batch_size=1)
        assert done.hooks().count("on_checkpoint") == 1

    Args:
        folder: where the run folder ``run`` is made; also the (empty) data folder.
        plugins: a class, several, named by their class in lower case, or name -> class. ``plugins=[...]`` does too.
        steps: ``max_steps``.
        task: the plugin that makes the task; ``Pictures`` for formats.
        settings: further settings, nested as in a config file. A plugin's are set by its name, or, where that is the
            name of a setting of the core, by ``plugins={"name": {...}}``.

    Raises:
        UserError, TrainingError: as a run does.
    """
    if not isinstance(settings.get("plugins", {}), Mapping):
        plugins = settings.pop("plugins")
    classes = {**named(task), **named(plugins)}
    sections = {name: settings.pop(name) for name in classes.keys() & settings.keys() - CORE}
    return train(folder, classes, {"max_steps": steps}, {"plugins": sections}, settings)


def named(plugins: Classes) -> dict[str, type[Plugin]]:
    """Plugins by name; a class without one is called by its own, in lower case."""
    if isinstance(plugins, Mapping):
        return dict(plugins)
    several = [plugins] if inspect.isclass(plugins) else plugins
    return {found.__name__.lower(): found for found in several}


def train(folder: Path, classes: Mapping[str, type[Plugin]], *settings: Mapping[str, Any]) -> Fitted:
    """Train with these plugins in this order; later settings win. A ``recorder`` is added unless there is one."""
    layers = layered(folder, *settings)
    logging.getLogger("mindloom").setLevel(logging.INFO)
    cfg, registry = configure(layers, classes if "recorder" in classes else {**classes, "recorder": Recorder})
    calls = listen(registry)
    code = execute(cfg, registry)
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    return Fitted(code, recorder.losses, recorder.weights, recorder.records, recorder.run.path, registry.plugins, calls)


def layered(folder: Path, *settings: Mapping[str, Any]) -> Layers:
    """The settings of a small run in a folder, with these on top."""
    layers = Layers()
    layers.set(
        {
            "per_batch_size": 2,
            "log_interval": 1,
            "save_path": str(folder / "run"),
            "save_path_with_time": False,
            "device": {"compile_cache": "off"},
            "data": {"path": str(folder)},
            "optim": {"lr": 0.01},
        },
        "fit",
    )
    for layer in settings:
        layers.set(layer, "test")
    return layers
