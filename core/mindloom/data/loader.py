"""From a sample to its row: decoded and transformed; a broken one put into quarantine and replaced by a good one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UserError
from ..formats import RawSample, SampleError, Source, checked
from ..images import Decode
from ..plan import Order
from ..task import Draw, Task
from .buckets import Frame
from .quarantine import Quarantine

Row = dict[str, np.ndarray]
BROKEN = (OSError, ValueError, KeyError)
"""What a source, a decoder or a task raises for a broken sample."""


def prepare(raw: RawSample, task: Task, draw: Draw, decode: Decode, frame: Frame | None = None) -> Row:
    """Decode one sample and let the task transform it.

    Args:
        frame: height and width that its bucket wants, None for the task's own.

    Raises:
        OSError, ValueError, KeyError: it is broken.
    """
    sample: dict[str, Any] = dict(raw)
    if frame is not None:
        sample["frame"] = frame
    if "image" in sample:
        sample["image"] = decode(sample["image"])
    return task.transform(sample, draw)


def note(quarantine: Quarantine, error: Exception, name: str, where: str = "") -> None:
    """Put a sample into quarantine, with what is known of it."""
    reason = f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    if isinstance(error, SampleError):
        name, where = error.id or name, error.where or where
    elif isinstance(error, OSError) and error.strerror:
        reason, where = error.strerror, where or str(error.filename or "")
    quarantine.note(name, reason, where)


class Loader:
    """Loads the sample of a position from an indexed source.

    A broken one gives way to the next good one of the same epoch. Whether a sample is broken depends on the sample
    only, so every process and every resumed run replaces it alike.
    """

    def __init__(
        self,
        source: Source,
        task: Task,
        order: Order,
        quarantine: Quarantine,
        decode: Decode,
    ) -> None:
        self.source, self.task, self.order, self.quarantine = source, task, order, quarantine
        self.decode = decode

    def __call__(self, position: int) -> Row:
        draw = self.order.draw(position)
        for skip in range(len(self.source)):
            index = self.order.index(position, skip)
            name, where = f"#{index}", ""
            try:
                raw = checked(self.source[index], index)
                name, where = str(raw.get("id", name)), str(raw.get("where", ""))
                return prepare(raw, self.task, draw, self.decode, self.order.frame_of(index))
            except BROKEN as error:
                note(self.quarantine, error, name, where)
        raise nothing_readable()


def nothing_readable() -> UserError:
    """The error of a data set without a single good sample."""
    return UserError("no sample of the dataset can be read: check data.path", setting="data.path")
