"""Held-out samples, prepared once with fixed randomness, and their mean loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from mindloom import UserError, images
from mindloom.plan import Plan

if TYPE_CHECKING:
    from mindloom.formats import Source
    from mindloom.loader import Row
    from mindloom.task import Task
    from mindspore import nn


@dataclass(frozen=True)
class HeldOut:
    """Batches that are the same every time.

    Attributes:
        batches: columns ``[batch, ...]`` in the order of ``Task.columns``, all batches of one size.
        samples: in all of them.
        left_over: samples that did not fill a batch.
    """

    batches: Sequence[tuple[np.ndarray, ...]]
    samples: int
    left_over: int

    def loss(self, cell: nn.Cell) -> float:
        """Mean loss over the samples, which weigh equally because all batches have one size.

        The cell is compiled by itself at the first call, forward only and without dropout, beside the training step's
        graph. It reads the parameters and writes nothing, so training goes on as if nothing had happened.
        """
        import mindspore as ms

        training = cell.training
        cell.set_train(False)
        try:
            losses = [float(cell(*(ms.Tensor(column) for column in batch)).asnumpy()) for batch in self.batches]
        finally:
            cell.set_train(training)
        return sum(losses) / len(losses)


def prepare(
    source: Source, task: Task, seed: int, wanted: int, batch_size: int, max_pixels: int, log: logging.Logger
) -> HeldOut:
    """Pick samples by the seed, draw everything random about each of them once, and batch them.

    Sample i has the random streams of (seed, i) for good, so two measurements differ by the weights alone. Broken
    samples are skipped. Fewer samples than a batch make one smaller batch.

    Raises:
        UserError: no sample can be read.
    """
    plan = Plan(len(source), seed)
    rows: list[Row] = []
    for position in range(plan.samples):
        if len(rows) == wanted:
            break
        row = _row(source, plan.index(position), task, plan, len(rows), max_pixels, log)
        rows += [] if row is None else [row]
    if not rows:
        raise UserError(f"none of the {plan.samples} held-out samples can be read")
    size = min(batch_size, len(rows))
    used = len(rows) - len(rows) % size
    batches = [
        tuple(np.stack([row[name] for row in rows[first : first + size]]) for name in task.columns)
        for first in range(0, used, size)
    ]
    return HeldOut(batches, used, len(rows) - used)


def _row(
    source: Source, index: int, task: Task, plan: Plan, position: int, max_pixels: int, log: logging.Logger
) -> Row | None:
    name = f"#{index}"
    try:
        sample = dict(source[index])
        name = str(sample.get("id", name))
        if "image" in sample:
            sample["image"] = images.decode(sample["image"], max_pixels)
        return task.transform(sample, plan.draw(position))
    except (OSError, ValueError, KeyError) as error:
        log.warning("skipped broken held-out sample %s: %s", name, error)
        return None
