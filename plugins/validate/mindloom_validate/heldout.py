"""Held-out samples, prepared once with fixed randomness, and their mean loss."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mindloom import UserError
from mindloom.data.loader import BROKEN
from mindloom.data.loader import prepare as prepare_row
from mindloom.data.opening import is_stream
from mindloom.ending import ending
from mindloom.formats import SampleError
from mindloom.plan import Plan

if TYPE_CHECKING:
    from mindloom.data.loader import Row
    from mindloom.formats import RawSample
    from mindloom.images import Decode
    from mindloom.task import Draw, Task
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
    source: Any, task: Task, seed: int, wanted: int, batch_size: int, decode: Decode, log: logging.Logger
) -> HeldOut:
    """Pick samples by the seed, draw everything random about each of them once, and batch them.

    Sample i has the random streams of (seed, i) for good, so two measurements differ by the weights alone. Broken
    samples are skipped. Fewer samples than a batch make one smaller batch. Of a stream the first samples are taken.

    Raises:
        UserError: no sample can be read.
    """
    plan = Plan(len(source), seed)
    rows: list[Row] = []
    with ending(_samples(source, plan)) as samples:
        for name, raw in samples:
            row = _row(name, raw, task, plan.draw(len(rows)), decode, log)
            rows += [] if row is None else [row]
            if len(rows) == wanted:
                break
    if not rows:
        raise UserError(f"none of the {plan.samples} held-out samples can be read")
    size = min(batch_size, len(rows))
    used = len(rows) - len(rows) % size
    batches = [
        tuple(np.stack([row[name] for row in rows[first : first + size]]) for name in task.columns)
        for first in range(0, used, size)
    ]
    return HeldOut(batches, used, len(rows) - used)


def _samples(source: Any, plan: Plan) -> Iterator[tuple[str, RawSample | Exception]]:
    """Samples or the errors that they are, each with a name as far as there is one without reading it."""
    if is_stream(source):
        items = source.read(0, 0, len(source))
        with ending(items):
            yield from ((f"#{place}", item) for place, item in enumerate(items))
        return
    for position in range(plan.samples):
        index = plan.index(position)
        try:
            yield f"#{index}", source[index]
        except BROKEN as error:
            yield f"#{index}", error


def _row(
    name: str, raw: RawSample | Exception, task: Task, draw: Draw, decode: Decode, log: logging.Logger
) -> Row | None:
    try:
        if isinstance(raw, Exception):
            raise raw
        name = str(raw.get("id", name))
        return prepare_row(raw, task, draw, decode)
    except BROKEN as error:
        found = error.id if isinstance(error, SampleError) else ""
        log.warning("skipped broken held-out sample %s: %s", found or name, error)
        return None
