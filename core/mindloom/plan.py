"""Which sample stands at which global position, and the random numbers that belong to a position.

A position counts samples over the whole run and all processes: position p is sample ``p % n`` of epoch ``p // n``. All
randomness is keyed by (seed, position) through a counter-based generator (Philox 4x64; Salmon et al. 2011), so a run
can start anywhere, on any number of processes and threads, and draw the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from .task import Draw

ORDER = 1 << 32
"""The word of an epoch's order, beyond every CRC-32: whatever a task calls its draws, none of them meets it."""


class Order(Protocol):
    """Which sample of an indexed source stands at which global position."""

    @property
    def samples(self) -> int:
        """Samples in an epoch."""
        ...

    def index(self, position: int, skip: int = 0) -> int:
        """The source's index at a position; ``skip`` > 0 is the skip-th substitute for a broken one there."""
        ...

    def draw(self, position: int) -> Draw:
        """The random streams of one position."""
        ...

    def frame_of(self, index: int) -> tuple[int, int] | None:
        """Height and width that a sample is cropped to; None for the task's own."""
        ...

    def state(self, position: int) -> dict[str, Any]:
        """What must be known, beside the position, to go on there: JSON."""
        ...

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """Go on at a position with what ``state`` returned there, perhaps with another batch size."""
        ...


def stream(seed: int, counter: int, purpose: str) -> np.random.Generator:
    """A generator of its own for every (seed, counter, purpose)."""
    return _philox(seed, counter, zlib.crc32(purpose.encode()))


def _philox(seed: int, counter: int, word: int) -> np.random.Generator:
    # The word sits in the counter's highest place: streams of one key stay 2**192 draws apart.
    start = np.array([0, 0, 0, word], dtype=np.uint64)
    key = np.array([seed, counter], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start))


class Positional:
    """An order that the position alone decides, without buckets."""

    seed: int

    def draw(self, position: int) -> Draw:
        """The random streams of one position."""
        return draws(self.seed, position)

    def frame_of(self, index: int) -> None:
        """None: all have the task's own shape."""

    def state(self, position: int) -> dict[str, Any]:
        """Nothing: the position says it all."""
        return {}

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Plan(Positional):
    """The order of ``samples`` samples over epochs, shared by all processes.

    Attributes:
        samples: number of samples in an epoch.
        seed: of the run.
        shuffle: another permutation every epoch, instead of the source's order.
    """

    samples: int
    seed: int
    shuffle: bool = True

    def index(self, position: int, skip: int = 0) -> int:
        """The source's index at a position; ``skip`` > 0 is the position's skip-th substitute in the same epoch."""
        epoch, place = divmod(position, self.samples)
        return int(_order(self.samples, self.seed, epoch, self.shuffle)[(place + skip) % self.samples])


def draws(seed: int, position: int) -> Draw:
    """The random streams of one position, one for each purpose."""

    def draw(purpose: str) -> np.random.Generator:
        return stream(seed, position, purpose)

    return draw


@lru_cache(maxsize=4)
def _order(samples: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    if not shuffle:
        return np.arange(samples)
    return _philox(seed, epoch, ORDER).permutation(samples)


class Pool:
    """Samples that are drawn without end: every one of them once, then every one again in another order."""

    def __init__(self, indexes: np.ndarray, seed: int, shuffle: bool, name: str) -> None:
        self.indexes, self.seed, self.shuffle, self.name = indexes, seed, shuffle, name
        self.cached: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.indexes)

    def at(self, number: int, skip: int = 0) -> int:
        """The source's index of the number-th draw; ``skip`` as in :class:`Order`."""
        lap, place = divmod(number, len(self.indexes))
        return int(self.indexes[self._lap(lap)[(place + skip) % len(self.indexes)]])

    def _lap(self, lap: int) -> np.ndarray:
        order = self.cached.get(lap)
        if order is None:
            count = len(self.indexes)
            order = stream(self.seed, lap, self.name).permutation(count) if self.shuffle else np.arange(count)
            self.cached = {**dict(list(self.cached.items())[-2:]), lap: order}  # replaced whole: others may be reading
        return order
