"""The plugin holds to the contract of plugins, on a task with something frozen to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import hookimpl
from mindloom.frozen import Arrays, Decode, Frozen, Part, Request
from mindloom.task import Draw, Sample, Task
from mindloom.testing import PluginContract, Toy, ToyTask
from mindloom_cache import Cache


class Tenths(Frozen):
    """A "trained" factor times the number in a sample's id."""

    parts: Mapping[str, Part] = {"tenths": Part({})}
    factor = 0.0

    def requests(self, frame: tuple[int, int] | None) -> Sequence[Request]:
        return [Request("tenths", "tenths", "id")]

    def load(self, path: Path) -> None:
        with np.load(path) as weights:
            self.factor = float(weights["frozen"][0]) / 10

    def fingerprint(self, part: str) -> str:
        return str(self.factor)

    def row(self, request: Request, content: Any, decode: Decode) -> Arrays:
        return {"number": np.float32(content.partition("-")[2])}

    def encode(self, part: str, rows: Sequence[Arrays]) -> list[Arrays]:
        return [{"tenths": row["number"] * np.float32(self.factor)} for row in rows]

    def switch(self) -> None:
        """Nothing: the task learns from kept results only."""

    def drop(self, advice: str) -> None:
        """Nothing: they hold no parameters of the model."""


class TenthsTask(ToyTask):
    """The toy task on kept results."""

    def frozen(self) -> Frozen:
        return Tenths()

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        return super().transform({"number": 10 * sample["kept"]("tenths")["tenths"]}, draw)


class Frosted(Toy):
    """The toy task with a frozen part."""

    @hookimpl
    def make_task(self) -> Task:
        return TenthsTask(self.cfg.width)


class TestCache(PluginContract):
    plugin = Cache
    task = Frosted

    def data(self, folder: Path) -> Mapping[str, Any]:
        weight = {"weight": np.zeros((1, 4), np.float32), "bias": np.zeros(1, np.float32)}
        np.savez(folder / "weights.npz", **weight, frozen=np.ones(1, np.float32))
        return {"weight": str(folder / "weights.npz"), "plugins": {"cache": {"folder": str(folder / "cache")}}}
