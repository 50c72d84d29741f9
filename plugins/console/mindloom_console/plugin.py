"""Which events of a run move the display."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

from .bar import ON_BAR, Bar
from .display import Display
from .figures import Pace, Smooth, describe
from .lines import Lines, line

if TYPE_CHECKING:
    from mindloom.records import Record
    from mindloom.run import Run
    from mindloom.step import StepResult
    from omegaconf import DictConfig
    from rich.console import Console as Terminal


class Console(Plugin):
    """Show progress: a live bar on a terminal, plain lines elsewhere."""

    @dataclass
    class Config:
        smooth: int = setting(20, "records that the smoothed loss averages over, roughly; 1: no smoothing")
        plain: bool = setting(False, "plain lines on a terminal too")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.loss = Smooth(self.cfg.smooth)
        self.pace = Pace()
        self.display: Display | None = None
        self.started = False

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.loss.mean, "weight": self.loss.weight}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss.mean, self.loss.weight = state["mean"], state["weight"]

    @hookimpl
    def on_configure(self, cfg: DictConfig) -> None:
        """Refuse a horizon that is none."""
        if self.cfg.smooth < 1:
            key = f"plugins.{self.name}.smooth"
            raise UserError(f"{key} must be at least 1, not {self.cfg.smooth}", setting=key)

    @hookimpl
    def on_step_start(self, run: Run) -> None:
        """Before the first step: open the display, and tell that compiling comes first."""
        if self.started or not run.world.is_main:
            return
        self.started = True
        if run.device.graph:
            run.log.info("compiling the first step; this may take a while")
        terminal = None if self.cfg.plain else find_terminal()
        self.display = Bar(terminal, run.step, run.last_step) if terminal else Lines(run.log.info)
        if run.device.graph:
            self.display.compiling()

    @hookimpl
    def on_step_end(self, run: Run, result: StepResult) -> None:
        """Advance, without reading a tensor: that would make the host wait for the device at every step."""
        if self.display is None:
            return
        now = time.monotonic()
        if not self.pace.marks and run.device.graph:
            self.display.compiled()
        self.pace.mark(run.step, now)
        self.display.advance(run.step, self.pace.left(run.last_step))

    @hookimpl
    def on_log(self, run: Run, record: Record) -> None:
        """Show the record; the last one closes the bar, so that what is said afterwards stands below it."""
        if self.display is None or "loss" not in record:
            return
        texts = describe(record, self.loss.add(record["loss"]), run.task.throughput_unit())
        left = self.pace.left(run.last_step)
        run.log.info(line(record.step, run.last_step, texts, left), extra={ON_BAR: True})
        self.display.figures(texts)
        if run.finished:
            self.display.close()

    @hookimpl
    def on_exception(self) -> None:
        """Give the terminal back before anything is said about the error."""
        self.close()

    def close(self) -> None:
        if self.display is not None:
            self.display.close()
            self.display = None


def find_terminal() -> Terminal | None:
    """The terminal that messages go to, or None: stderr is a file or a pipe, or too simple a terminal."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", None):
        return None
    from rich.console import Console as Terminal

    return Terminal(stderr=True)
