"""Batches of one shape each, in an order that all processes share and in which no picture is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..plan import Pool, draws, stream
from ..task import Draw
from .buckets import Frame


class BucketOrder:
    """Groups of ``group`` samples, each group of one shape.

    A bucket is drawn from without end (:class:`Pool`), so a group may begin with the last of one lap through the bucket
    and end with the first of the next. In epoch e bucket k, of n_k samples, gives floor((e+1)·n_k/group) -
    floor(e·n_k/group) groups: what fills no group waits for the next epoch, and nothing is taken more often than the
    rest. All of this is a function of the position, relative to an anchor: the position at which the size of a group
    last changed.
    """

    def __init__(
        self,
        nearest: np.ndarray,
        frames: Sequence[Frame],
        batch: int,
        run: int,
        seed: int,
        shuffle: bool,
        times: np.ndarray | None = None,
    ) -> None:
        """Sort the samples into their buckets.

        Args:
            nearest: for every sample the place of its shape in ``frames``.
            batch: samples of one step over all processes.
            run: steps in a row that share a shape; a group is that many batches.
            times: how often each sample comes in an epoch; None: once.
        """
        self.nearest, self.shapes = nearest, list(frames)
        self.batch, self.group = batch, batch * run
        self.seed, self.shuffle = seed, shuffle
        indexes = np.arange(len(nearest)) if times is None else np.repeat(np.arange(len(nearest)), times)
        full = [place for place in range(len(frames)) if (nearest[indexes] == place).any()]
        self.frames = [frames[place] for place in full]
        self.pools = [
            Pool(indexes[nearest[indexes] == place], seed, shuffle, f"bucket {frames[place]}") for place in full
        ]
        self.counts = np.array([len(pool) for pool in self.pools], np.int64)
        self.samples = int(self.counts.sum())
        self.anchor = 0
        self.taken = np.zeros(len(self.pools), np.int64)
        self.cached: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def frame_of(self, index: int) -> Frame:
        """See :class:`Order`."""
        return self.shapes[int(self.nearest[index])]

    def _before(self, epoch: int) -> np.ndarray:
        """Groups that each bucket gave before an epoch."""
        return epoch * self.counts // self.group

    def _find(self, position: int) -> tuple[int, int, int]:
        """Epoch (since the anchor), the group's place in it, and the sample's place in the group."""
        number, within = divmod(position - self.anchor, self.group)
        epoch = number * self.group // self.samples
        while int(self._before(epoch + 1).sum()) <= number:
            epoch += 1
        while int(self._before(epoch).sum()) > number:
            epoch -= 1
        return epoch, number - int(self._before(epoch).sum()), within

    def _buckets(self, epoch: int) -> np.ndarray:
        """The bucket of every group of an epoch, in order."""
        known, order = self.cached
        if known != epoch:
            order = np.repeat(np.arange(len(self.pools)), self._before(epoch + 1) - self._before(epoch))
            if self.shuffle:
                order = stream(self.seed, self.anchor + epoch, "buckets").permutation(order)
            self.cached = (epoch, order)
        return order

    def bucket(self, position: int) -> int:
        """The place of the bucket in ``frames`` that a position takes from."""
        epoch, place, _ = self._find(position)
        return int(self._buckets(epoch)[place])

    def index(self, position: int, skip: int = 0) -> int:
        """See :class:`Order`; a substitute has the same shape."""
        epoch, place, within = self._find(position)
        order = self._buckets(epoch)
        bucket = int(order[place])
        groups = int(self._before(epoch)[bucket]) + int((order[:place] == bucket).sum())
        return self.pools[bucket].at(int(self.taken[bucket]) + groups * self.group + within, skip)

    def draw(self, position: int) -> Draw:
        """See :class:`Order`."""
        return draws(self.seed, position)

    def state(self, position: int) -> dict[str, Any]:
        """Anchor, the size of a group and what was drawn from every bucket before the anchor."""
        return {
            "anchor": self.anchor,
            "group": self.group,
            "taken": self.taken.tolist(),
            "frames": [list(frame) for frame in self.frames],
            "counts": self.counts.tolist(),
        }

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """Go on as before; with another size of groups, or from the middle of one, begin anew from what is left."""
        if state.get("frames") != [list(f) for f in self.frames] or state.get("counts") != self.counts.tolist():
            self.anchor = position  # other pictures or shapes: nothing of the old order holds
            return
        self.anchor, self.taken = int(state["anchor"]), np.array(state["taken"], np.int64)
        now, self.group = self.group, int(state["group"])
        if now != self.group or (position - self.anchor) % self.batch:
            self.taken = self.drawn(position)
            self.anchor, self.group = position, now
            self.cached = (-1, self.cached[1])

    def drawn(self, position: int) -> np.ndarray:
        """How many samples were drawn from every bucket before a position, over the whole run."""
        epoch, place, within = self._find(position)
        order = self._buckets(epoch)
        groups = self._before(epoch) + np.bincount(order[:place], minlength=len(self.pools))
        drawn: np.ndarray = self.taken + groups * self.group
        drawn[order[place]] += within
        return drawn
