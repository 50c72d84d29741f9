"""From a position to its row: read, decoded and transformed; a broken sample counted and replaced by a good one."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

import numpy as np

from . import images
from .errors import UserError
from .formats import Source
from .plan import Plan
from .task import Task

Row = dict[str, np.ndarray]


@dataclass
class Broken:
    """The samples that could not be used, and how many of them are bearable."""

    allowed: int
    log: logging.Logger
    reasons: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, sample: str, error: Exception) -> None:
        """Count a broken sample once.

        Raises:
            UserError: there are now more than allowed.
        """
        with self.lock:
            if sample in self.reasons:
                return
            reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            self.reasons[sample] = reason
            self.log.warning("skipped broken sample %s (%d so far): %s", sample, len(self.reasons), reason)
            if len(self.reasons) > self.allowed:
                raise UserError(
                    f"{len(self.reasons)} samples are broken, more than the {self.allowed} allowed, "
                    f"the last one {sample} ({reason}): "
                    "repair the data or raise data.max_broken",
                    setting="data.max_broken",
                )


class Loader:
    """Loads the sample of a position; a broken one gives way to the next good one of the same epoch.

    Whether a sample is broken depends on the sample only, so every process and every resumed run replaces it alike.
    """

    def __init__(self, source: Source, task: Task, plan: Plan, broken: Broken, max_pixels: int) -> None:
        self.source, self.task, self.plan, self.broken, self.max_pixels = source, task, plan, broken, max_pixels

    def __call__(self, position: int) -> Row:
        draw = self.plan.draw(position)
        for skip in range(self.plan.samples):
            index = self.plan.index(position, skip)
            name = f"#{index}"
            try:
                sample = dict(self.source[index])
                name = str(sample.get("id", name))
                if "image" in sample:
                    sample["image"] = images.decode(sample["image"], self.max_pixels)
                return self.task.transform(sample, draw)
            except (OSError, ValueError, KeyError) as error:
                self.broken.note(name, error)
        raise UserError("no sample of the dataset can be read: check data.path", setting="data.path")
