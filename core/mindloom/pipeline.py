"""From a source of samples to batches: in the plan's order, loaded ahead by threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .formats import Source
from .loader import Broken, Loader, Row
from .plan import Plan

if TYPE_CHECKING:
    from .run import Run


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


class Pipeline:
    """The core's dataset: batches of a map-style source, prepared ahead by threads (decoding releases the GIL)."""

    def __init__(self, run: Run, source: Source) -> None:
        cfg = run.cfg
        self.samples = len(source)
        self.plan = Plan(self.samples, cfg.seed, cfg.data.shuffle)
        # Rounded up: 5 % of 12 samples are one. Multiplying may exceed a whole number by a rounding error.
        self.broken = Broken(math.ceil(cfg.data.max_broken * self.samples - 1e-9), run.log)
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
            # Waits for the samples at work: whoever closes this may close their files next.
            pool.shutdown(wait=True, cancel_futures=True)

    def _finish(self, step: int, futures: list[Future[Row]]) -> Batch:
        return self.collate(step, [future.result() for future in futures])
