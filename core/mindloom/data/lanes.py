"""Dividing a stream among processes: every one reads a range of its own, and a resumed run reads what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Interval = tuple[int, int]
"""First place and the one after the last, in the order of an epoch."""


class Lanes:
    """Which places of a stream belong to which positions.

    Within an epoch every process has one *lane*: as many consecutive places of the stream's order as it has positions
    in that epoch. Lanes may begin and end in the middle of a shard, so they differ by no more than a batch, all
    processes take the same number of steps, and nothing is left out or read twice. Positions belong to processes in
    turns of one batch. A checkpoint holds what is left of the current epoch; on another number of processes it is
    divided anew.

    Args:
        samples: in an epoch.
        batch: samples that a process takes in one forward pass.
        size: number of processes.
    """

    def __init__(self, samples: int, batch: int, size: int) -> None:
        self.samples, self.batch, self.size = samples, batch, size
        self.anchor = 0
        self.left: list[Interval] | None = None

    def owned(self, rank: int, first: int, last: int) -> int:
        """How many of the positions first, ..., last - 1 belong to a process."""
        turn = self.batch * self.size

        def before(count: int) -> int:
            turns, rest = divmod(count, turn)
            return turns * self.batch + min(max(rest - rank * self.batch, 0), self.batch)

        return before(last - self.anchor) - before(first - self.anchor)

    def _epoch(self, epoch: int) -> tuple[int, int, list[Interval]]:
        """First position of an epoch (of its rest, for the one that was resumed in), the one after its last, and what
        is to be read in it."""
        first, last = epoch * self.samples, (epoch + 1) * self.samples
        if first < self.anchor:
            return self.anchor, last, self.left or [(self.anchor - first, self.samples)]
        return first, last, [(0, self.samples)]

    def lane(self, epoch: int, rank: int) -> list[Interval]:
        """What a process reads in an epoch, in order."""
        first, last, left = self._epoch(epoch)
        start = sum(self.owned(other, first, last) for other in range(rank))
        return cut(left, start, start + self.owned(rank, first, last))

    def rest(self, epoch: int, rank: int, position: int) -> list[Interval]:
        """What is left of a lane at a position within the epoch."""
        done = self.owned(rank, self._epoch(epoch)[0], position)
        lane = self.lane(epoch, rank)
        return cut(lane, done, length(lane))

    def places(self, rank: int, position: int) -> Iterator[tuple[int, list[Interval]]]:
        """Yield epochs and what to read in them, without end, from a position on."""
        epoch = position // self.samples
        yield epoch, self.rest(epoch, rank, position)
        while True:
            epoch += 1
            yield epoch, self.lane(epoch, rank)

    def state(self, position: int) -> dict[str, Any]:
        """What is left of the epoch at a position, JSON."""
        epoch, place = divmod(position, self.samples)
        if not place:
            return {"samples": self.samples, "left": []}
        parts = [self.rest(epoch, rank, position) for rank in range(self.size)]
        return {"samples": self.samples, "left": merged([interval for part in parts for interval in part])}

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """Go on at a position with what ``state`` returned there."""
        self.anchor, self.left = position, None
        left = [(int(first), int(last)) for first, last in state.get("left", [])]
        if left and state.get("samples") == self.samples:
            self.left = left


def length(intervals: Sequence[Interval]) -> int:
    """Places in all of the intervals."""
    return sum(last - first for first, last in intervals)


def cut(intervals: Sequence[Interval], start: int, stop: int) -> list[Interval]:
    """Take the places start, ..., stop - 1 out of a row of intervals."""
    taken, passed = [], 0
    for first, last in intervals:
        low, high = max(start - passed, 0), min(stop - passed, last - first)
        if low < high:
            taken.append((first + low, first + high))
        passed += last - first
    return taken


def merged(intervals: Sequence[Interval]) -> list[Interval]:
    """Join neighbours in a row of intervals."""
    row: list[Interval] = []
    for first, last in intervals:
        if row and row[-1][1] == first:
            row[-1] = (row[-1][0], last)
        else:
            row.append((first, last))
    return row
