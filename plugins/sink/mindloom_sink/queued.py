"""MindSpore's data sink: the device takes batches from a queue of its own, and one call runs many steps.

Written to the documentation of ``mindspore.data_sink`` (2.8), which knows Ascend and GPU only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindloom.step import StepResult
from mindspore import nn

from .chunks import chunks


class Rows:
    """Some steps as rows (lr, *columns). It knows its length, because a sink asks for it."""

    def __init__(self, run: Any, dataset: Any, first: int, last: int) -> None:
        self.run, self.dataset, self.first, self.last = run, dataset, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        for batch in self.dataset.batches(self.first, self.last):
            yield (np.asarray(self.run.schedule(batch.step), np.float32), *batch.columns)


def queued(run: Any, step: nn.Cell, dataset: Any, size: int, queue: int) -> Iterator[StepResult]:
    """Dispatch the steps that are left, ``size`` at a time.

    A sink has one size and one shape for its whole life, so a shorter dispatch and one of other shapes get a sink of
    their own.
    """
    ds.config.set_prefetch_size(queue)
    config = ms.JitConfig(jit_level=run.cfg.device.jit_level) if run.cfg.device.jit_level else ms.JitConfig()
    pieces = (part for piece in chunks(run.step, run.last_step, size) for part in uniform(dataset, *piece))
    for (steps, frame), group in groupby(pieces, lambda piece: (piece[1] - piece[0], dataset.frame(piece[0]))):
        same = list(group)
        run.announce_frame(frame)
        rows = Rows(run, dataset, same[0][0], same[-1][1])
        source = ds.GeneratorDataset(rows, ["lr", *run.task.columns], shuffle=False)
        dispatch = ms.data_sink(step, source, sink_size=steps, jit_config=config)
        for _, last in same:
            outputs = dispatch()
            yield StepResult(steps, run.schedule(last - 1), dict(zip(step.outputs, outputs, strict=True)))


def uniform(dataset: Any, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Divide a piece where the shape of the pictures changes."""
    for _, steps in groupby(range(first, last), dataset.frame):
        same = list(steps)
        yield same[0], same[-1] + 1
