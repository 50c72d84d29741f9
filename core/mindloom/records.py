"""What is logged: records of values, pictures and texts, and the clock that measures the throughput."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .results import describe

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


def check_published(values: Mapping[str, Any], images: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    """Refuse what loggers could not write, while the one who publishes it is there to blame.

    Raises:
        TypeError: a value is no number, a picture no uint8 array ``[height, width, 3]``, or a text no string.
    """
    for given in (values, images, texts):
        if not isinstance(given, Mapping):
            raise TypeError(f"run.publish takes dicts of names, not {describe(given)}")
    for name, value in values.items():
        number = hasattr(value, "__float__") and getattr(value, "size", 1) == 1
        if not number:
            raise TypeError(f"run.publish: the value {name!r} must be a number, not {describe(value)}")
    for name, image in images.items():
        shape, dtype = tuple(getattr(image, "shape", ())), getattr(image, "dtype", None)
        if str(dtype) != "uint8" or len(shape) != 3 or shape[-1] != 3:
            what = f"{describe(image)} of {dtype} {list(shape)}" if dtype is not None else describe(image)
            raise TypeError(f"run.publish: the image {name!r} must be a uint8 array [height, width, 3], not {what}")
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"run.publish: the text {name!r} must be a string, not {describe(text)}")


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
