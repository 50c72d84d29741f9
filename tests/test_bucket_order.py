"""The order with buckets: one shape a batch, nobody left out, the same everywhere and after a resume."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from mindloom.data.bucket_order import BucketOrder

FRAMES = [(64, 128), (96, 96), (128, 64)]
NEAREST = np.array([0] * 7 + [1] * 20 + [2] * 3, np.uint8)


def order(batch: int = 4, run: int = 1, times: np.ndarray | None = None, shuffle: bool = True) -> BucketOrder:
    return BucketOrder(NEAREST, FRAMES, batch, run, seed=3, shuffle=shuffle, times=times)


def indexes(plan: BucketOrder, first: int, last: int) -> list[int]:
    return [plan.index(position) for position in range(first, last)]


@pytest.mark.parametrize(("batch", "run"), [(4, 1), (1, 1), (2, 3), (8, 2)])
def test_a_run_of_batches_has_one_shape(batch: int, run: int) -> None:
    plan = order(batch, run)
    for group in range(40):
        first = group * batch * run
        shapes = {plan.frame_of(index) for index in indexes(plan, first, first + batch * run)}
        assert len(shapes) == 1
        assert shapes == {plan.frames[plan.bucket(first)]}


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_sample_comes_equally_often_over_time(shuffle: bool) -> None:
    counts = Counter(indexes(order(shuffle=shuffle), 0, 30 * 40))
    assert set(counts) == set(range(30))
    assert max(counts.values()) - min(counts.values()) <= 3


def test_within_a_bucket_nothing_comes_again_before_all_the_others_came() -> None:
    plan = order()
    for bucket in range(3):
        own = [index for index in indexes(plan, 0, 30 * 12) if NEAREST[index] == bucket]
        count = int((bucket == NEAREST).sum())
        for lap in range(len(own) // count):
            assert len(set(own[lap * count : (lap + 1) * count])) == count


def test_repeats_come_more_often() -> None:
    times = np.where(NEAREST == 2, 4, 1)
    plan = order(times=times)
    assert plan.samples == 39
    counts = Counter(indexes(plan, 0, 39 * 40))
    assert counts[29] / counts[0] == pytest.approx(4, rel=0.1)


def test_another_batch_size_on_resume_goes_on_with_what_is_left() -> None:
    before = order(batch=4)
    middle = 32
    head = indexes(before, 0, middle)
    after = order(batch=2)
    after.resume(before.state(middle), middle)
    tail = indexes(after, middle, 900)
    for bucket in range(3):
        own = [index for index in head + tail if NEAREST[index] == bucket]
        count = int((bucket == NEAREST).sum())
        for lap in range(len(own) // count):
            assert len(set(own[lap * count : (lap + 1) * count])) == count


@pytest.mark.parametrize("middle", [4, 28, 32, 100])
def test_a_resumed_run_takes_the_same(middle: int) -> None:
    whole = order()
    resumed = order()
    resumed.resume(whole.state(middle), middle)
    assert indexes(resumed, middle, middle + 200) == indexes(whole, middle, middle + 200)
    twice = order()
    twice.resume(resumed.state(middle + 40), middle + 40)
    assert indexes(twice, middle + 40, middle + 200) == indexes(whole, middle + 40, middle + 200)


def test_a_batch_that_would_straddle_two_groups_begins_a_new_order() -> None:
    before = order(batch=4, run=2)
    after = order(batch=8, run=1)
    after.resume(before.state(4), 4)
    for step in range(20):
        first = 4 + 8 * step
        assert len({after.frame_of(index) for index in indexes(after, first, first + 8)}) == 1


def test_other_pictures_on_resume_begin_a_new_order() -> None:
    other = BucketOrder(NEAREST[:-1], FRAMES, 4, 1, seed=3, shuffle=True)
    other.resume(order().state(40), 40)
    assert (other.anchor, other.taken.tolist()) == (40, [0, 0, 0])


def test_substitutes_have_the_same_shape_and_reach_the_whole_bucket() -> None:
    plan = order()
    for position in range(0, 60, 7):
        bucket = NEAREST[plan.index(position)]
        count = int((bucket == NEAREST).sum())
        assert {plan.index(position, skip) for skip in range(count)} == set(np.flatnonzero(bucket == NEAREST))
