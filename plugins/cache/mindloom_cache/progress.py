"""Lines of progress with rate and remaining time, every few seconds, by the main process only."""

from __future__ import annotations

import logging
import time

EVERY = 10.0
"""Seconds between lines."""


class Progress:
    """Counts work that takes a while.

    Args:
        log: None is silent.
    """

    def __init__(self, log: logging.Logger | None) -> None:
        self.log = log

    def begin(self, what: str, total: int) -> None:
        """Start to count; ``what`` begins every line."""
        self.what, self.total, self.done, self.bytes = what, total, 0, 0
        self.started = self.told = time.monotonic()

    def add(self, count: int, size: int = 0) -> None:
        """Count, and tell if it is time."""
        self.done += count
        self.bytes += size
        now = time.monotonic()
        if self.log is not None and now - self.told >= EVERY:
            self.told = now
            rate = self.done / (now - self.started)
            left = (self.total - self.done) / max(rate, 1e-9)
            self.log.info(
                "cache: %s %d of %d%s, %.1f/s, %s to go",
                self.what, self.done, self.total, self._size(), rate, duration(left),
            )  # fmt: skip

    def end(self) -> None:
        """Tell how long it took if it took long enough to have been told about."""
        took = time.monotonic() - self.started
        if self.log is not None and self.total and (self.bytes or took >= EVERY):
            self.log.info(
                "cache: %s: %d%s in %s (%.1f/s)",
                self.what, self.done, self._size(), duration(took), self.done / max(took, 1e-9),
            )  # fmt: skip

    def _size(self) -> str:
        return f" ({self.bytes / 1e6:.1f} MB)" if self.bytes else ""


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.1f} s"
