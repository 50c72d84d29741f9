"""A data set looked over: counts, sizes, shapes, captions, duplicates, broken samples, suitable buckets."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..data.buckets import choose
from ..formats import RawSample
from .measures import Measure
from .reading import Broken, Good

SMALL = 512
"""Pixels of the shorter side below which pictures teach a model of today little but blur."""
RATIOS = {
    "1:2": 1 / 2, "2:3": 2 / 3, "3:4": 3 / 4, "4:5": 4 / 5, "10:11": 10 / 11, "11:10": 11 / 10, "5:4": 5 / 4,
    "4:3": 4 / 3, "3:2": 3 / 2, "2:1": 2.0,
}  # fmt: skip
"""Where the classes of aspect ratios (width : height) part; the one in the middle holds what passes for a square."""
LISTED = 1000
"""Entries of a list in the report at the most: what is wrong with all samples need not be told a million times."""
OUTLIER = 3
"""How many times what nine tenths of the values stay below."""
SHOWN = 16
"""Pictures on the sheet."""


class Tally:
    """What is known of the samples so far: some hundred bytes of each, and the files of the few that are shown.

    Args:
        expected: samples to come.
        measures: of captions, beside their characters.
    """

    def __init__(self, expected: int, measures: Mapping[str, Measure]) -> None:
        self.measures: dict[str, Measure | None] = {"characters": None, **measures}
        self.expected = expected
        self.widths, self.heights = array("l"), array("l")
        self.lengths = {name: array("l") for name in self.measures}
        self.bytes = self.empty = self.seen = self.broken_count = 0
        self.broken: list[Broken] = []
        self.shown: list[RawSample] = []
        self.ids: dict[str, int] = {}
        self.pictures: dict[bytes, str] = {}
        self.same_picture: dict[str, list[str]] = {}

    def add(self, look: Good | Broken) -> None:
        """Take in the next sample of the data set."""
        place, self.seen = self.seen, self.seen + 1
        if isinstance(look, Broken):
            self.broken_count += 1
            self.broken += [look] if len(self.broken) < LISTED else []
            return
        caption = look.sample["caption"]
        self.widths.append(look.size[0])
        self.heights.append(look.size[1])
        for name, measure in self.measures.items():
            self.lengths[name].append(measure(caption) if measure else len(caption))
        self.empty += not caption.strip()
        self.bytes += len(look.sample["image"])
        self.ids[look.id] = self.ids.get(look.id, 0) + 1
        first = self.pictures.setdefault(look.digest, look.id)
        if first is not look.id:
            self.same_picture.setdefault(first, [first]).append(look.id)
        # Spread over the set: the first good sample of each of so many equal parts.
        if place * SHOWN >= len(self.shown) * self.expected and len(self.shown) < SHOWN:
            self.shown.append(look.sample)

    def report(self, resolution: int, step: int, budget: int) -> dict[str, Any]:
        """Everything as JSON values.

        Args:
            resolution: side in pixels of the square that is trained on.
            step: what sides of buckets are multiples of.
            budget: buckets at the most.
        """
        sizes = np.stack([np.asarray(self.widths), np.asarray(self.heights)], 1)
        repeated = {id: count for id, count in self.ids.items() if count > 1}
        groups = sorted(self.same_picture.values(), key=len, reverse=True)
        return {
            "samples": {"checked": self.seen, "usable": len(sizes), "broken": self.broken_count, "bytes": self.bytes},
            "sizes": size_report(sizes, resolution),
            "aspect_ratios": ratio_report(sizes),
            "captions": {
                "empty": self.empty,
                **{name: caption_report(self.lengths[name], self.measures[name]) for name in self.measures},
            },
            "duplicates": {
                "same_picture": sum(len(group) - 1 for group in groups),
                "same_id": sum(repeated.values()) - len(repeated),
                "pictures": [group[:LISTED] for group in groups[:LISTED]],
                "ids": dict(list(repeated.items())[:LISTED]),
            },
            "buckets": bucket_report(sizes, resolution, step, budget),
            "broken": [vars(broken) for broken in self.broken],
        }


def spread(values: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Smallest, middle and largest."""
    if not len(values):
        return {"min": 0, "median": 0, "max": 0}
    numbers = np.asarray(values)
    return {"min": int(numbers.min()), "median": float(np.median(numbers)), "max": int(numbers.max())}


def histogram(values: Sequence[int] | np.ndarray, bins: int = 10, part: int | None = None) -> list[dict[str, int]]:
    """Counts of whole numbers in bins of one round width, each from ``from`` up to but not including ``to``.

    A few values far above all others share one wide last bin: they would press everything else into the first.

    Args:
        values: what to count.
        bins: at the most, beside the wide one.
        part: a number at which bins are parted, so that each lies wholly below it or not.
    """
    if not len(values):
        return []
    low, high, usual = int(np.min(values)), int(np.max(values)), int(np.percentile(values, 90))
    top = usual if high > OUTLIER * max(usual, 1) else high
    rounds = (mantissa * 10**power for power in range(12) for mantissa in (1, 2, 5))
    width = next(width for width in rounds if top // width - low // width < bins)
    edges = (np.arange(low // width, top // width + 2) * width).tolist()
    edges += [high + 1] if high >= edges[-1] else []
    if part is not None and edges[0] < part <= high:
        edges = sorted({*edges, part})
    counts, _ = np.histogram(values, edges)
    return [
        {"from": start, "to": stop, "samples": int(count)}
        for (start, stop), count in zip(pairwise(edges), counts, strict=True)
    ]


def size_report(sizes: np.ndarray, resolution: int) -> dict[str, Any]:
    """How large pictures are, and how many must be enlarged to cover a square."""
    shorter = sizes.min(axis=1)
    return {
        "width": spread(sizes[:, 0]),
        "height": spread(sizes[:, 1]),
        "shorter_side": {**spread(shorter), "histogram": histogram(shorter, part=resolution)},
        "shorter_side_below": {str(limit): int((shorter < limit).sum()) for limit in sorted({SMALL, resolution})},
    }


def ratio_report(sizes: np.ndarray) -> list[dict[str, Any]]:
    """How many pictures have which width : height, from tall to wide."""
    names, limits = list(RATIOS), list(RATIOS.values())
    classes = np.searchsorted(limits, sizes[:, 0] / sizes[:, 1], side="right")
    counts = np.bincount(classes, minlength=len(limits) + 1)
    between = [f"{low} - {high}" for low, high in pairwise(names)]
    labels = [f"below {names[0]}", *between, f"{names[-1]} and above"]
    labels[labels.index("10:11 - 11:10")] = "about 1:1"
    return [{"ratio": label, "samples": int(count)} for label, count in zip(labels, counts, strict=True)]


def caption_report(lengths: Sequence[int], measure: Measure | None) -> dict[str, Any]:
    """How long captions are, and how many are longer than what is read of them."""
    part = None if measure is None else measure.limit + 1
    report: dict[str, Any] = {**spread(lengths), "histogram": histogram(lengths, part=part)}
    if measure is not None:
        over = int((np.asarray(lengths) > measure.limit).sum())
        report |= {"limit": measure.limit, "over_limit": over}
    return report


def bucket_report(sizes: np.ndarray, resolution: int, step: int, budget: int) -> dict[str, Any]:
    """The shapes that crop least away, and for comparison what a square alone would."""
    chosen, square = (list(choose(sizes, resolution**2, step, count)) for count in (budget, 1))
    return {
        "resolution": resolution,
        "step": step,
        "budget": budget,
        "cropped": _cropped((bucket.samples, bucket.cropped) for bucket in chosen),
        "cropped_by_one_shape": _cropped((bucket.samples, bucket.cropped) for bucket in square),
        "shapes": [
            {"width": b.frame[1], "height": b.frame[0], "samples": b.samples, "cropped": round(b.cropped, 4)}
            for b in chosen
        ],
    }


def _cropped(parts: Iterable[tuple[int, float]]) -> float:
    listed = list(parts)
    return round(sum(samples * lost for samples, lost in listed) / max(1, sum(samples for samples, _ in listed)), 4)
