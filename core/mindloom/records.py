"""What is logged: records of values, pictures and texts, and the clock that measures the throughput."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Record(dict[str, float]):
    """Logged values, and what plugins published since the last record.

    Attributes:
        step: optimizer steps done.
        images: name -> uint8 ``[height, width, 3]`` picture.
        texts: name -> Markdown.
    """

    def __init__(self, step: int, values: dict[str, float] | None = None) -> None:
        super().__init__(values or {})
        self.step = step
        self.images: dict[str, np.ndarray] = {}
        self.texts: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(len(self) or self.images or self.texts)


@dataclass
class Clock:
    """Samples a second of training since the last reading.

    The first dispatch, which compiles, does not count, and neither does what observers do between dispatches
    (drawing, validating, saving).
    """

    samples: int = 0
    since: float = 0.0
    paused: float = 0.0

    def tick(self, samples: int) -> None:
        """Count what a dispatch took in."""
        if not self.since:
            self.since = time.monotonic()
        else:
            self.samples += samples

    def read(self) -> float | None:
        """The rate since the last reading, None when nothing was counted."""
        now = time.monotonic()
        rate = self.samples / (now - self.since - self.paused) if self.samples else None
        self.samples, self.since, self.paused = 0, now, 0.0
        return rate

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out the time spent inside."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.paused += time.monotonic() - began
