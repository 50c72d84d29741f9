"""This process among those that fill the cache together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mindloom import TrainingError
from mindloom.world import World

TRIES, PAUSE = 20, 5.0
"""How often, and how many seconds apart, processes look for the files of others. Network disks list them late."""


@dataclass(frozen=True)
class Place:
    """Who does what, and when all are done.

    Attributes:
        threads: of this process, for reading and decoding.
    """

    world: World
    threads: int

    def takes(self, number: int) -> bool:
        """Whether a piece of work is this process's.

        By the piece's own number and not by its place among what is left: others may be writing at this moment, so that
        processes need not find the same left to do.
        """
        return number % self.world.size == self.world.rank

    def wait(self) -> None:
        """Return once all processes are here."""
        self.world.share("")

    def agree(self, look: Callable[[], np.ndarray], what: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Look until all processes see the same, and return what this one sees.

        Args:
            look: what is to be returned; numbers in it may differ between processes.
            what: the part of it that all must agree on.

        Raises:
            TrainingError: they never do.
        """
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE)
            seen = look()
            mine = hashlib.sha256(what(seen).tobytes()).hexdigest()
            if not self.world.any(self.world.share(mine) != mine):
                return seen
        raise TrainingError(
            f"processes still see different files in the cache after {TRIES * PAUSE:.0f} s: "
            "set plugins.cache.folder to a disk that all of them share"
        )
