"""From a stream to rows: read in one thread, decoded in many, with substitutes for what is broken."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from ..ending import ending
from ..errors import TrainingError
from ..formats import RawSample, SampleError, Stream, checked
from ..images import Decode
from ..plan import draws
from ..task import Task
from .lanes import Lanes
from .loader import BROKEN, Row, note, nothing_readable, prepare
from .quarantine import Quarantine

Read = tuple[int, int, RawSample | SampleError]
"""Epoch, place in its order, and what lies there."""


def read(stream: Stream, lanes: Lanes, rank: int, position: int) -> Iterator[Read]:
    """Yield what a process reads from a position on, without end."""
    for epoch, intervals in lanes.places(rank, position):
        for first, last in intervals:
            with ending(stream.read(epoch, first, last)) as items:
                for place, item in exactly(items, first, last):
                    yield epoch, place, item


def exactly(
    items: Iterator[RawSample | SampleError], first: int, last: int
) -> Iterator[tuple[int, RawSample | SampleError]]:
    """Number what a stream yields.

    Raises:
        TrainingError: it yields fewer samples than it was asked for, so positions would shift unseen.
    """
    place = first
    for item in items:
        yield place, item if isinstance(item, SampleError) else checked(item, place)
        place += 1
        if place == last:
            return
    raise TrainingError(
        f"the data stream ended after {place - first} of the {last - first} samples that it counted: "
        "has the data changed? Count it anew"
    )


class StreamLoader:
    """Makes rows of what was read.

    A broken sample gives way to the next good one in the stream's order, whoever reads that one as its own: so all
    processes and resumed runs replace it alike. It is fetched by a second look into the stream, which costs time, but
    only for broken samples.
    """

    def __init__(self, stream: Stream, task: Task, seed: int, quarantine: Quarantine, decode: Decode) -> None:
        self.stream, self.task, self.seed, self.quarantine, self.decode = stream, task, seed, quarantine, decode
        self.lock = threading.Lock()
        self.found: tuple[int, int, int, RawSample] | None = None

    def __call__(self, position: int, item: Read) -> Row:
        epoch, place, found = item
        draw = draws(self.seed, position)
        for _ in range(len(self.stream)):
            try:
                if isinstance(found, SampleError):
                    raise found
                return prepare(found, self.task, draw, self.decode)
            except BROKEN as error:
                known = {} if isinstance(found, SampleError) else found
                note(self.quarantine, error, str(known.get("id", f"#{place}")), str(known.get("where", "")))
            place, found = self.next_good(epoch, place)
        raise nothing_readable()

    def next_good(self, epoch: int, place: int) -> tuple[int, RawSample]:
        """The first sample after a place that the stream itself does not call broken; after the last comes the first.

        Raises:
            UserError: there is none.
        """
        with self.lock:
            # A shard cut in the middle breaks many in a row, which all have one substitute.
            if self.found and self.found[0] == epoch and self.found[1] <= place < self.found[2]:
                return self.found[2], self.found[3]
            total = len(self.stream)
            for first, last in ((place + 1, total), (0, place)):
                if first >= last:
                    continue
                items = self.stream.read(epoch, first, last)
                with ending(items):
                    for number, item in exactly(items, first, last):
                        if not isinstance(item, SampleError):
                            self.found = (epoch, place, number, item)
                            return number, item
        raise nothing_readable()
