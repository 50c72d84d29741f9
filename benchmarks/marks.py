"""A plugin that writes down when a run reaches what, for benchmarks: ``--plugins benchmarks/marks.py``.

It writes lines of JSON to ``<rank>.jsonl`` in the folder that a variable names:
``{"mark": "make_task", "at": 3.2, "cpu": 2.9, "resident": 0.4}`` at the end of everything that is built, with seconds
since the process was started, processor seconds of this process, and GB in memory; one with ``"steps"`` for every
dispatch, when its loss is there; one with ``"log"`` for every record; and the peak of resident memory at last.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from mindloom import Plugin, hookimpl

FOLDER, BEGAN = "BENCHMARK_FOLDER", "BENCHMARK_BEGAN"
"""Variables: where the marks go, and what time.monotonic() said when the process was started."""


class Marks(Plugin):
    """Writes down when a run reaches what."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.path = Path(os.environ[FOLDER], f"{os.environ.get('RANK_ID', '0')}.jsonl")
        self.mark("imported")

    def mark(self, name: str, **more: Any) -> None:
        """Write a line."""
        now = {
            "at": time.monotonic() - float(os.environ[BEGAN]),
            "cpu": time.process_time(),
            "resident": resident("VmRSS"),
        }
        entry = {"mark": name, **now, **more}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _around(self, name: str) -> Generator[None, Any, Any]:
        self.mark(f"before {name}")
        try:
            return (yield)
        finally:
            self.mark(name)

    @hookimpl(wrapper=True, tryfirst=True)
    def make_device(self) -> Generator[None, Any, Any]:
        """Imports mindspore."""
        return (yield from self._around("make_device"))

    @hookimpl(wrapper=True, tryfirst=True)
    def make_world(self) -> Generator[None, Any, Any]:
        """Meets the other processes."""
        return (yield from self._around("make_world"))

    @hookimpl(wrapper=True, tryfirst=True)
    def make_dataset(self) -> Generator[None, Any, Any]:
        """Opens the data."""
        return (yield from self._around("make_dataset"))

    @hookimpl(wrapper=True, tryfirst=True)
    def make_task(self) -> Generator[None, Any, Any]:
        """Builds the model."""
        return (yield from self._around("make_task"))

    @hookimpl(wrapper=True, tryfirst=True)
    def make_step(self) -> Generator[None, Any, Any]:
        """Joins loss, gradients and optimizer."""
        return (yield from self._around("make_step"))

    @hookimpl
    def on_train_start(self) -> None:
        """Everything is built, loaded and restored."""
        self.mark("on_train_start")

    @hookimpl
    def on_step_start(self) -> None:
        """A dispatch begins."""
        self.mark("on_step_start")

    @hookimpl(tryfirst=True)
    def on_step_end(self, result: Any) -> None:
        """Wait for the device."""
        result.loss.asnumpy()
        self.mark("on_step_end", steps=result.n)

    @hookimpl
    def on_log(self, record: Any) -> None:
        """What the run itself measured."""
        self.mark("on_log", log=dict(record), step=record.step)

    def close(self) -> None:
        """Say how much memory it took."""
        self.mark("close", peak=resident("VmHWM"))


def resident(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024**2 for line in lines if line.startswith(field)), 0.0)
