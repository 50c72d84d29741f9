"""A stream divided among processes: each place once in an epoch, through any number of resumes."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from mindloom.data.lanes import Lanes


def consume(lanes: Lanes, rank: int, position: int, count: int) -> list[tuple[int, int]]:
    """The first (epoch, place) pairs that a process reads."""

    def places() -> Any:
        for epoch, intervals in lanes.places(rank, position):
            for first, last in intervals:
                yield from ((epoch, place) for place in range(first, last))

    return list(itertools.islice(places(), count))


class Job:
    """Processes that take steps, stop, and go on in another number."""

    def __init__(self, samples: int) -> None:
        self.samples, self.position, self.state = samples, 0, {}
        self.read: list[tuple[int, int]] = []

    def steps(self, count: int, batch: int, size: int, micros: int = 1) -> None:
        lanes = Lanes(self.samples, batch, size)
        lanes.resume(self.state, self.position)
        for rank in range(size):
            self.read += consume(lanes, rank, self.position, count * batch * micros)
        self.position += count * batch * size * micros
        self.state = lanes.state(self.position)

    def of_epoch(self, epoch: int) -> Counter[int]:
        return Counter(place for found, place in self.read if found == epoch)


@pytest.mark.parametrize("samples", [24, 23, 7, 1])
@pytest.mark.parametrize(("batch", "size"), [(1, 1), (2, 2), (3, 2), (4, 3)])
def test_whole_epochs_are_read_once_in_whatever_pieces(samples: int, batch: int, size: int) -> None:
    job = Job(samples)
    for steps in (1, 3, 2, 5, 20):
        job.steps(steps, batch, size)
    for epoch in range(job.position // samples):
        assert job.of_epoch(epoch) == dict.fromkeys(range(samples), 1)


def test_a_job_that_changes_its_size_within_an_epoch_still_reads_everything_once() -> None:
    job = Job(101)
    for steps, batch, size in [(3, 4, 2), (2, 4, 1), (1, 3, 3), (2, 2, 2), (40, 1, 4)]:
        job.steps(steps, batch, size)
    for epoch in range(job.position // 101):
        assert job.of_epoch(epoch) == dict.fromkeys(range(101), 1)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("middle", [1, 2, 9, 10, 25])
def test_a_resumed_process_reads_what_it_would_have_read(size: int, middle: int) -> None:
    whole = Lanes(53, 2, size)
    position = middle * 2 * size
    resumed = Lanes(53, 2, size)
    resumed.resume(whole.state(position), position)
    for rank in range(size):
        assert consume(resumed, rank, position, 60) == consume(whole, rank, 0, middle * 2 + 60)[middle * 2 :]


def test_lanes_are_ranges_in_a_row_and_differ_by_a_batch_at_most() -> None:
    lanes = Lanes(1000, 8, 3)
    ranges = [lanes.lane(0, rank) for rank in range(3)]
    assert [len(lane) for lane in ranges] == [1, 1, 1]
    assert [lane[0] for lane in ranges] == [(0, 336), (336, 672), (672, 1000)]


def test_one_process_reads_in_order() -> None:
    assert [place for _, place in consume(Lanes(10, 4, 1), 0, 0, 20)] == [*range(10), *range(10)]


def test_what_is_left_is_few_intervals_whatever_has_been_read() -> None:
    lanes = Lanes(10_000, 2, 4)
    assert len(lanes.state(8 * 700)["left"]) <= 4
    assert lanes.state(10_000)["left"] == []
