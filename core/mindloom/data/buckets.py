"""Which shapes pictures are cropped to: at most so many for a data set, all of about one area."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError

Frame = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Bucket:
    """One shape, and what it holds.

    Attributes:
        frame: height and width.
        samples: how many pictures are nearest to it.
        cropped: mean share of their area that is cropped away after they are resized to cover the frame.
    """

    frame: Frame
    samples: int
    cropped: float


def candidates(area: int, step: int) -> list[Frame]:
    """Every shape there is to choose from, from tall to wide.

    Sides are multiples of ``step``, the shorter one at least half the side of the square; for each shorter side the
    longer one is the largest that stays within the area, as kohya-ss/sd-scripts' ``make_bucket_resolutions`` has it.
    """
    side = math.isqrt(area)
    shorts = range(max(step, math.ceil(side / 2 / step) * step), side + 1, step)
    pairs = {(short, area // short // step * step) for short in shorts}
    frames = {frame for short, long in pairs if long >= short for frame in ((long, short), (short, long))}
    return sorted(frames, key=lambda frame: frame[1] / frame[0])


def choose(sizes: np.ndarray, area: int, step: int, budget: int) -> list[Bucket]:
    """Choose the shapes that crop the least away.

    The choice is exact: pictures sorted by aspect ratio fall to the nearest shape, so the best ``budget`` of the
    candidates are found by dynamic programming over neighbouring pairs.

    Args:
        sizes: ``[n, 2]``, width and height of every upright picture; rows with a zero (unreadable) do not count.
        area: pixels of a shape at the most.
        step: what sides are multiples of.
        budget: shapes at the most.

    Returns:
        The shapes that hold something, from tall to wide; at least one.

    Raises:
        UserError: the area holds no square of one step.
    """
    frames = candidates(area, step)
    if not frames:
        raise UserError(
            f"data.bucket_step is {step}, larger than the pictures, which are {math.isqrt(area)} pixels wide: lower it",
            setting="data.bucket_step",
        )
    known = sizes[(sizes > 0).all(axis=1)]
    ratios = np.sort(known[:, 0] / known[:, 1])
    shapes = np.array([width / height for height, width in frames])
    chosen = [frames[place] for place in _best(ratios, shapes, budget)]
    return fill(known, chosen)


def fill(sizes: np.ndarray, frames: Sequence[Frame]) -> list[Bucket]:
    """Say what each shape holds; those that hold nothing are left out, except the last one that is left."""
    nearest = assign(sizes, frames)
    ratios, shapes = sizes[:, 0] / np.maximum(sizes[:, 1], 1), np.array([w / h for h, w in frames])
    lost = 1 - np.minimum(ratios / shapes[nearest], shapes[nearest] / np.maximum(ratios, 1e-9))
    buckets = [
        Bucket(frame, int((nearest == place).sum()), float(lost[nearest == place].mean()))
        for place, frame in enumerate(frames)
        if (nearest == place).any()
    ]
    return buckets or [Bucket(frames[len(frames) // 2], 0, 0.0)]


def assign(sizes: np.ndarray, frames: Sequence[Frame]) -> np.ndarray:
    """Place of the nearest shape for every picture, by the logarithm of the aspect ratio; unreadable ones get 0."""
    shapes = np.log([width / height for height, width in frames])
    ratios = np.log(np.maximum(sizes[:, 0], 1) / np.maximum(sizes[:, 1], 1))
    return np.abs(ratios[:, None] - shapes[None, :]).argmin(axis=1)


def _best(ratios: np.ndarray, shapes: np.ndarray, budget: int) -> list[int]:
    """Places of the shapes with the smallest total loss; with equal losses, the fewer."""
    if not len(ratios):
        return [int(np.abs(np.log(shapes)).argmin())]
    count = len(shapes)
    sums = np.concatenate([[0.0], np.cumsum(ratios)])  # of r, and below of 1/r: a picture loses 1 - r/s or 1 - s/r
    inverse = np.concatenate([[0.0], np.cumsum(1 / ratios)])

    def below(first: int, last: int, shape: float) -> float:
        return (last - first) - (sums[last] - sums[first]) / shape

    def above(first: int, last: int, shape: float) -> float:
        return (last - first) - (inverse[last] - inverse[first]) * shape

    at = np.searchsorted(ratios, shapes)
    between = np.full((count, count), np.inf)
    for i in range(count):
        for j in range(i + 1, count):
            middle = int(np.searchsorted(ratios, math.sqrt(shapes[i] * shapes[j])))
            between[i, j] = above(at[i], middle, shapes[i]) + below(middle, at[j], shapes[j])
    cost = np.array([below(0, at[j], shapes[j]) for j in range(count)])
    tail = np.array([above(at[j], len(ratios), shapes[j]) for j in range(count)])
    before: list[np.ndarray] = []
    best, place, used = math.inf, 0, 0
    for number in range(min(budget, count)):
        last = int((cost + tail).argmin())
        if cost[last] + tail[last] < best - 1e-9:
            best, place, used = float(cost[last] + tail[last]), last, number
        before.append((cost[:, None] + between).argmin(axis=0))
        cost = (cost[:, None] + between).min(axis=0)
    chosen = [place]
    for number in range(used, 0, -1):
        chosen.append(int(before[number - 1][chosen[-1]]))
    return chosen[::-1]


def describe(buckets: Sequence[Bucket], log: logging.Logger) -> None:
    """Print what each shape holds and how much is cropped away."""
    total = sum(bucket.samples for bucket in buckets)
    lost = sum(bucket.samples * bucket.cropped for bucket in buckets) / max(total, 1)
    log.info("%d shapes for %d pictures, %.1f %% of their area cropped away:", len(buckets), total, 100 * lost)
    for bucket in buckets:
        height, width = bucket.frame
        log.info("  %5d x %-5d %8d pictures, %4.1f %% cropped", width, height, bucket.samples, 100 * bucket.cropped)
