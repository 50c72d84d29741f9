"""A loop inside the graph over stacked batches: one dispatch runs as many steps as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

import mindspore as ms
import numpy as np
from mindloom.ending import ending
from mindloom.step import StepResult
from mindspore import nn

from .chunks import chunks


class Loop(nn.Cell):
    """``construct(count, lrs, *columns)`` -> outputs of the last of ``count`` steps.

    lrs float32 ``[size]``; columns with a leading axis of ``size`` batches, of which the first ``count`` are used: so
    a shorter last dispatch needs no graph of its own. The step's outputs are float32 scalars.
    """

    def __init__(self, step: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.step = step
        self.nothing = tuple(ms.Tensor(0.0, ms.float32) for _ in step.outputs)

    def construct(self, count: ms.Tensor, lrs: ms.Tensor, *columns: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = self.nothing
        place = ms.Tensor(0, ms.int32)
        while place < count:
            rows: tuple[ms.Tensor, ...] = ()
            for column in columns:
                rows = (*rows, column[place])
            outputs = self.step(lrs[place], *rows)
            place = place + 1
        return outputs


def stacked(arrays: list[Any], size: int) -> ms.Tensor:
    """Stack to ``[size, ...]``, repeating the last one where there are fewer."""
    return ms.Tensor(np.stack([*arrays, *[arrays[-1]] * (size - len(arrays))]))


def looped(run: Any, step: nn.Cell, dataset: Any, size: int) -> Iterator[StepResult]:
    """Dispatch the steps that are left, ``size`` at a time."""
    loop = Loop(step)
    loop.set_train()
    run.cache_graphs(loop)
    with ending(dataset.batches(run.step, run.last_step)) as batches:
        for first, last in chunks(run.step, run.last_step, size):
            # A graph has fixed shapes: where they change within a chunk, it takes several dispatches.
            for _, same in groupby(islice(batches, last - first), lambda batch: [c.shape for c in batch.columns]):
                taken = list(same)
                run.announce_frame(dataset.frame(taken[0].step))
                lrs = [run.schedule(batch.step) for batch in taken]
                rows = zip(*(batch.columns for batch in taken), strict=True)
                columns = [stacked(list(column), size) for column in rows]
                count = ms.Tensor(len(taken), ms.int32)
                outputs = loop(count, stacked([np.float32(lr) for lr in lrs], size), *columns)
                yield StepResult(len(taken), lrs[-1], dict(zip(step.outputs, outputs, strict=True)))
