"""Progress for log files and pipes: one line for each record, and signs of life while the first step compiles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from .display import Display
from .figures import counter, duration, labelled

HEARTBEAT = 15.0
"""Seconds between signs of life."""


def line(step: int, total: int, texts: Mapping[str, str], left: float | None) -> str:
    """Put a record on one line."""
    return "  ".join([counter(step, total), *labelled(texts), *([f"eta {duration(left)}"] if left else [])])


class Lines(Display):
    """Writes through ``say``. Records themselves are logged by the plugin, on a terminal too, for the log file."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.done = threading.Event()
        self.thread: threading.Thread | None = None

    def compiling(self) -> None:
        self.thread = threading.Thread(target=self._beat, name="mindloom-console", daemon=True)
        self.thread.start()

    def _beat(self) -> None:
        # MindSpore holds the GIL for stretches of the compilation (up to 1.7 s of 8 s were seen), never all along.
        start = time.monotonic()
        while not self.done.wait(HEARTBEAT):
            self.say(f"still compiling after {duration(time.monotonic() - start)}")

    def compiled(self) -> None:
        self.done.set()
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def advance(self, step: int, left: float | None) -> None:
        pass

    def figures(self, texts: Mapping[str, str]) -> None:
        pass

    def close(self) -> None:
        self.compiled()
