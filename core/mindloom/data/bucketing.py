"""Sorting the pictures of a run into buckets, alike on all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..formats import Source
from . import buckets
from .bucket_order import BucketOrder
from .sizes import measure, share

if TYPE_CHECKING:
    from ..run import Run


def bucketed(run: Run, source: Source, times: np.ndarray | None) -> BucketOrder:
    """Measure the pictures, choose the shapes and say what each holds. The main process does, the others are told.

    Args:
        times: how often each sample comes in an epoch; None: once.

    Raises:
        UserError: the task's pictures have no shape to keep the area of.
    """
    data, side = run.cfg.data, run.task.resolution
    if not side:
        raise UserError("this task knows no buckets: set data.buckets=0", setting="data.buckets")
    if data.bucket_step % run.task.multiple:
        raise UserError(
            f"data.bucket_step is {data.bucket_step}, but this model takes multiples of {run.task.multiple} pixels: "
            f"set {run.task.multiple} or a multiple of it",
            setting="data.bucket_step",
        )
    frames = nearest = None
    if run.world.is_main:
        sizes = measure(source, data.workers, run.log)
        chosen = buckets.choose(sizes, side * side, data.bucket_step, data.buckets)
        buckets.describe(chosen, run.log)
        frames = np.array([bucket.frame for bucket in chosen], np.int32)
        nearest = buckets.assign(sizes, [bucket.frame for bucket in chosen]).astype(np.uint8)
    frames, nearest = share(run.world, frames), share(run.world, nearest)
    shapes = [(int(height), int(width)) for height, width in frames]
    return BucketOrder(nearest, shapes, run.global_batch, data.bucket_run, run.cfg.seed, data.shuffle, times)
