"""How far the drawing of pictures is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("mindloom")
FAST, SLOW = 0.2, 10.0
"""Seconds between two reports on a terminal and in a log."""


class Progress:
    """Says on stderr what takes so long: one line that changes on a terminal, a line now and then elsewhere.

    Args:
        pictures: to be drawn.
        batch: how many at once.
        steps: of each batch.
    """

    def __init__(self, pictures: int, batch: int, steps: int) -> None:
        self.pictures, self.steps, self.total = pictures, steps, steps * -(-pictures // batch)
        self.done = self.since = 0
        self.began = self.said = time.monotonic()
        self.terminal, self.drawn = sys.stderr.isatty(), False

    @contextmanager
    def compiling(self, what: str, first: bool) -> Iterator[None]:
        """Tell of a graph that is used for the first time, and how long that took."""
        if not first:
            yield
            return
        self.close()
        LOG.info("compiling %s", what)
        started = time.monotonic()
        yield
        self.began, self.since = time.monotonic(), self.done
        LOG.info("compiled and ran %s in %.1f s", what, self.began - started)

    def step(self, place: int) -> None:
        """Count a step of the batch that begins with the picture at this place."""
        self.done += 1
        now = time.monotonic()
        if self.since == 0:  # the first step compiled, and says nothing about the others
            self.began, self.since = now, 1
        if now - self.said < (FAST if self.terminal else SLOW) or self.done <= self.since:
            return
        self.said = now
        each, number = (now - self.began) / (self.done - self.since), (self.done - 1) % self.steps + 1
        text = (
            f"picture {place + 1} of {self.pictures}: step {number} of {self.steps}, {each:.2f} s a step, "
            f"{each * (self.total - self.done):.0f} s left"
        )
        end = "" if self.terminal else "\n"
        print(f"\r{text:<78}" if self.terminal else text, end=end, file=sys.stderr, flush=True)
        self.drawn = self.terminal

    def close(self) -> None:
        """Take the changing line away."""
        if self.drawn:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
            self.drawn = False
