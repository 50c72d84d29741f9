"""Drive several steps with one call from the host, so that the device does not wait for Python between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.config import intervals
from mindloom.schema import setting


class Sink(Plugin):
    """Several steps in one dispatch: a loop inside the graph, or MindSpore's data sink on a device."""

    @dataclass
    class Config:
        size: int = setting(100, "steps in one dispatch")
        queue: int = setting(16, "batches that wait for an Ascend or a GPU; a CPU takes them stacked")

    @hookimpl
    def on_configure(self, cfg: Any) -> None:
        """Refuse sizes that cannot work, and intervals that would fall inside a dispatch."""
        size = self.cfg.size
        if size < 1:
            raise UserError(f"sink size must be at least 1, not {size}", setting="plugins.sink.size")
        if self.cfg.queue < 1:
            raise UserError(f"sink queue must be at least 1, not {self.cfg.queue}", setting="plugins.sink.queue")
        odd = [f"{key}={every}" for key, every in intervals(cfg).items() if every % size]
        if odd:
            raise UserError(
                f"with sink, things happen every {size} steps at the most: make {', '.join(odd)} a multiple of {size}, "
                "or change plugins.sink.size",
                setting="plugins.sink.size",
            )
        if cfg.device.mode != "graph":
            raise UserError("sink needs graph mode: set device.mode=graph or switch sink off", setting="device.mode")

    @hookimpl
    def make_stepper(self, run: Any, step: Any, dataset: Any) -> Iterator[Any]:
        """Choose the way that the device knows."""
        epoch = -(-dataset.samples // run.global_batch)
        if self.cfg.size > epoch:
            raise UserError(
                f"sink size {self.cfg.size} is larger than an epoch, which has {epoch} steps: lower plugins.sink.size",
                setting="plugins.sink.size",
            )
        if run.device.target == "CPU":
            from .looped import looped

            return looped(run, step, dataset, self.cfg.size)
        from .queued import queued

        return queued(run, step, dataset, self.cfg.size, self.cfg.queue)
