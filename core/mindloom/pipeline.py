"""From a source of samples to batches: in the plan's order, decoded by threads, broken samples replaced."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from . import images
from .errors import UserError
from .formats import Source
from .plan import Plan
from .task import Task

if TYPE_CHECKING:
    from .run import Run

Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """What one process computes in one optimizer step.

    Attributes:
        step: optimizer steps done before it.
        columns: arrays ``[per_batch_size, ...]``, or ``[gradient_accumulation_steps, per_batch_size, ...]`` when
            gradients are accumulated; in the order of ``Task.columns``.
    """

    step: int
    columns: tuple[np.ndarray, ...]


class Dataset(Protocol):
    """Batches that can start at any step."""

    samples: int
    """Samples in an epoch, over all processes."""

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Yield this process's batches of the steps first, first + 1, ..., last - 1."""
        ...


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
                    f"{len(self.reasons)} samples are broken, more than allowed, the last one {sample} ({reason}): "
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


class Pipeline:
    """The core's dataset: batches of a map-style source, prepared ahead by threads (decoding releases the GIL)."""

    def __init__(self, run: Run, source: Source) -> None:
        cfg = run.cfg
        self.samples = len(source)
        self.plan = Plan(self.samples, cfg.seed, cfg.data.shuffle)
        self.broken = Broken(int(cfg.data.max_broken * self.samples), run.log)
        self.source, self.run = source, run
        self.workers, self.prefetch = cfg.data.workers, cfg.data.prefetch
        self.shape = (cfg.gradient_accumulation_steps, cfg.per_batch_size)

    def positions(self, step: int) -> list[int]:
        """Global positions of this process's samples in one step, micro-batch by micro-batch.

        Processes take neighbouring slices of every micro-batch: two of batch 2 see together what one of batch 4 sees.
        """
        run = self.run
        micros, size = self.shape
        start = run.first_position + (step - run.first_step) * run.global_batch
        return [
            start + (micro * run.world.size + run.world.rank) * size + place
            for micro in range(micros)
            for place in range(size)
        ]

    def collate(self, step: int, rows: list[Row]) -> Batch:
        """Stack rows into columns."""
        micros, size = self.shape
        lead = (micros, size) if micros > 1 else (size,)
        stacked = [np.stack([row[name] for row in rows]) for name in self.run.task.columns]
        return Batch(step, tuple(column.reshape(lead + column.shape[1:]) for column in stacked))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        load = Loader(self.source, self.run.task, self.plan, self.broken, self.run.cfg.data.max_pixels)
        pending: deque[tuple[int, list[Future[Row]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="mindloom-data")
        try:
            for step in range(first, last):
                pending.append((step, [pool.submit(load, position) for position in self.positions(step)]))
                if len(pending) > self.prefetch:
                    yield self._finish(*pending.popleft())
            while pending:
                yield self._finish(*pending.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _finish(self, step: int, futures: list[Future[Row]]) -> Batch:
        return self.collate(step, [future.result() for future in futures])
