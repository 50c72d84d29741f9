"""Which sample stands at which global position, and the random numbers that belong to a position.

A position counts samples over the whole run and all processes: position p is sample ``p % n`` of epoch ``p // n``. All
randomness is keyed by (seed, position) through a counter-based generator (Philox 4x64; Salmon et al. 2011), so a run
can start anywhere, on any number of processes and threads, and draw the same numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .task import Draw

ORDER = 1 << 32
"""The word of an epoch's order, beyond every CRC-32: whatever a task calls its draws, none of them meets it."""


def stream(seed: int, counter: int, purpose: str) -> np.random.Generator:
    """A generator of its own for every (seed, counter, purpose)."""
    return _philox(seed, counter, zlib.crc32(purpose.encode()))


def _philox(seed: int, counter: int, word: int) -> np.random.Generator:
    # The word sits in the counter's highest place: streams of one key stay 2**192 draws apart.
    start = np.array([0, 0, 0, word], dtype=np.uint64)
    key = np.array([seed, counter], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=start))


@dataclass(frozen=True)
class Plan:
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

    def draw(self, position: int) -> Draw:
        """The random streams of one position."""

        def draw(purpose: str) -> np.random.Generator:
            return stream(self.seed, position, purpose)

        return draw


@lru_cache(maxsize=4)
def _order(samples: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    if not shuffle:
        return np.arange(samples)
    return _philox(seed, epoch, ORDER).permutation(samples)
