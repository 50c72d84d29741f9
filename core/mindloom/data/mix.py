"""Several places to take samples from, each with its share of an epoch."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from ..errors import UserError
from ..formats import RawSample, SampleError, Source
from ..plan import Pool, Positional, stream
from .sizes import size_of

SETTING = "data.mix"
KEYS = ("path", "repeats", "weight")


@dataclass(frozen=True)
class Part:
    """One entry of ``data.mix``.

    Attributes:
        path: where the samples are.
        repeats: how often each of them comes in an epoch; fractions are allowed.
        weight: the entry's share of an epoch, relative to the other weights; instead of repeats.
    """

    path: str
    repeats: float = 1.0
    weight: float | None = None


def parse(entries: Sequence[Any]) -> list[Part]:
    """Read ``data.mix``.

    Raises:
        UserError: an entry is none, or repeats and weights are mixed.
    """
    parts = [_part(entry, number) for number, entry in enumerate(entries, start=1)]
    weighted = [part for part in parts if part.weight is not None]
    if weighted and len(weighted) < len(parts):
        raise UserError("either all entries of data.mix have a weight, or none", setting=SETTING)
    return parts


def _part(entry: Any, number: int) -> Part:
    place = f"entry {number} of data.mix"
    if isinstance(entry, str):
        return Part(entry)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str) or not entry["path"]:
        raise UserError(f"{place} must be like {{path: folder, repeats: 2}}, not {entry!r}", setting=SETTING)
    odd = [str(key) for key in entry if key not in KEYS]
    if odd or ("repeats" in entry and "weight" in entry):
        wrong = f"knows no {odd[0]!r}" if odd else "has repeats and a weight"
        raise UserError(f"{place} {wrong}: give path, and repeats or weight", setting=SETTING)
    for key in ("repeats", "weight"):
        value = entry.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e6:
            raise UserError(f"{place}: {key} must be a number above 0, not {value!r}", setting=SETTING)
    weight = entry.get("weight")
    return Part(entry["path"], float(entry.get("repeats", 1)), None if weight is None else float(weight))


def takes(parts: Sequence[Part], counts: Sequence[int]) -> list[int]:
    """Samples that an epoch takes from each place: repeats times its size, or the weight's share of all."""
    weights = sum(part.weight or 0 for part in parts)
    shares = [
        part.repeats * count if part.weight is None else part.weight / weights * sum(counts)
        for part, count in zip(parts, counts, strict=True)
    ]
    return [max(1, round(share)) for share in shares]


def whole(parts: Sequence[Part], counts: Sequence[int]) -> np.ndarray:
    """How often each sample of all places comes in an epoch, for orders that need whole numbers.

    Raises:
        UserError: a place does not come a whole number of times.
    """
    for part, count, taken in zip(parts, counts, takes(parts, counts), strict=True):
        if taken % count:
            raise UserError(
                f"with buckets, data.mix takes whole repeats only: {part.path} would come {taken / count:.2f} times",
                setting=SETTING,
            )
    times = [taken // count for count, taken in zip(counts, takes(parts, counts), strict=True)]
    return np.repeat(times, counts)


class Joined:
    """Several indexed sources as one; ids begin with the place that they come from."""

    def __init__(self, sources: Sequence[Source], parts: Sequence[Part]) -> None:
        self.sources, self.parts = sources, parts
        self.counts = [len(source) for source in sources]
        self.starts = [0, *accumulate(self.counts)]
        # One place that cannot tell a change makes the whole unable to.
        self.stamp = self._stamp if all(hasattr(source, "stamp") for source in sources) else None

    def __len__(self) -> int:
        return self.starts[-1]

    def _find(self, index: int) -> tuple[int, int]:
        place = bisect.bisect_right(self.starts, index) - 1
        return place, index - self.starts[place]

    def __getitem__(self, index: int) -> RawSample:
        place, inner = self._find(index)
        path = self.parts[place].path
        try:
            sample = self.sources[place][inner]
        except SampleError as error:
            raise SampleError(str(error), f"{path}/{error.id}" if error.id else "", error.where) from error
        return {**sample, "id": f"{path}/{sample.get('id', f'#{inner}')}"}

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of a picture."""
        place, inner = self._find(index)
        return size_of(self.sources[place], inner)

    def _stamp(self, index: int) -> str:
        place, inner = self._find(index)
        source: Any = self.sources[place]
        return f"{self.parts[place].path}/{source.stamp(inner)}"

    def close(self) -> None:
        """Close every source."""
        for source in self.sources:
            if close := getattr(source, "close", None):
                close()


class MixOrder(Positional):
    """Every place gives its share of an epoch; what a share leaves out comes first in the next one."""

    def __init__(self, counts: Sequence[int], shares: Sequence[int], seed: int, shuffle: bool) -> None:
        self.samples, self.seed, self.shuffle, self.shares = sum(shares), seed, shuffle, shares
        starts = [0, *accumulate(counts)]
        self.pools = [
            Pool(np.arange(start, start + count), seed, shuffle, f"mix {number}")
            for number, (start, count) in enumerate(zip(starts, counts, strict=False))
        ]
        self.firsts = [0, *accumulate(shares)]
        self.cached: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def index(self, position: int, skip: int = 0) -> int:
        """See :class:`mindloom.plan.Order`."""
        epoch, place = divmod(position, self.samples)
        slot = int(self._slots(epoch)[place]) if self.shuffle else place
        pool = bisect.bisect_right(self.firsts, slot) - 1
        return self.pools[pool].at(epoch * self.shares[pool] + slot - self.firsts[pool], skip)

    def _slots(self, epoch: int) -> np.ndarray:
        known, slots = self.cached
        if known != epoch:
            slots = stream(self.seed, epoch, "mix").permutation(self.samples)
            self.cached = (epoch, slots)
        return slots
