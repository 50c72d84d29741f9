"""Progress on a terminal: a spinner while the first step compiles, then a live bar that log messages do not tear."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from .display import Display
from .figures import counter, duration, labelled

ON_BAR = "shown_on_bar"
"""Attribute of log records that the bar shows already: only files need them."""


class ThroughConsole(logging.Handler):
    """Prints log messages above the live bar."""

    def __init__(self, console: Console, like: logging.Handler) -> None:
        super().__init__(like.level)
        self.console = console
        self.setFormatter(like.formatter)

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, ON_BAR, False):
            return
        style = "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
        # Text, so that brackets in paths and messages are not taken for markup; soft_wrap, so that paths can be copied.
        self.console.print(Text(self.format(record), style), soft_wrap=True)


class Bar(Display):
    """Occupies the last two lines of the terminal until it is closed: the bar, and the values of the newest record.

    Side by side they would not fit into 80 columns. A closed bar stays where it was.

    rich refreshes both from a thread of its own, so they live on while the main thread compiles or computes.
    """

    def __init__(self, console: Console, step: int, total: int) -> None:
        self.console, self.total = console, total
        self.compiling_since = 0.0
        self.spinner = Spinner("dots")
        columns = TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[eta]}")
        self.progress = Progress(*columns, console=console, expand=True)
        self.task = self.progress.add_task(counter(step, total), total=total, completed=step, eta="")
        self.values = Text(no_wrap=True, overflow="ellipsis")
        self.replaced = self._take_over_logging()
        # A redirected stdout is somebody's file, which rich would write to the terminal instead.
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=8,
                         redirect_stdout=sys.stdout.isatty(), redirect_stderr=sys.stderr.isatty())  # fmt: skip
        self.live.start()

    def _take_over_logging(self) -> list[tuple[logging.Handler, logging.Handler]]:
        root = logging.getLogger()
        pairs: list[tuple[logging.Handler, logging.Handler]] = []
        for old in root.handlers:
            if isinstance(old, logging.StreamHandler) and old.stream in (sys.stdout, sys.stderr) and _tty(old.stream):
                pairs.append((old, ThroughConsole(self.console, old)))
        for old, new in pairs:
            root.handlers[root.handlers.index(old)] = new
        return pairs

    def render(self) -> RenderableType:
        if not self.compiling_since:
            return Group(self.progress.get_renderable(), *([self.values] if self.values else []))
        seconds = duration(time.monotonic() - self.compiling_since)
        self.spinner.update(text=f"compiling the first step  {seconds}")
        return self.spinner

    def compiling(self) -> None:
        self.compiling_since = time.monotonic()

    def compiled(self) -> None:
        self.compiling_since = 0.0

    def advance(self, step: int, left: float | None) -> None:
        eta = f"eta {duration(left)}" if left else ""
        self.progress.update(self.task, completed=step, description=counter(step, self.total), eta=eta)

    def figures(self, texts: Mapping[str, str]) -> None:
        shown = dict(texts)
        shown["loss"] = f"{shown.pop('smoothed')} (smoothed)"
        self.values = Text("  ".join(labelled(shown)), "cyan", no_wrap=True, overflow="ellipsis")

    def close(self) -> None:
        self.compiling_since = 0.0
        self.live.stop()
        root = logging.getLogger()
        for old, new in self.replaced:
            if new in root.handlers:
                root.handlers[root.handlers.index(new)] = old
        self.replaced = []


def _tty(stream: object) -> bool:
    return bool(getattr(stream, "isatty", bool)())
