"""Choosing shapes: the best for the pictures at hand, never more than asked for."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from mindloom import UserError
from mindloom.data.buckets import assign, candidates, choose, describe, fill

AREA = 1024 * 1024


def lost(buckets: list) -> float:
    return sum(bucket.samples * bucket.cropped for bucket in buckets)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(300, 3000, (count, 2))


def test_candidates_keep_the_area_in_multiples_of_the_step() -> None:
    frames = candidates(AREA, 64)
    assert (1024, 1024) in frames
    # Shapes of the list in appendix I of Podell et al. 2023, height first.
    assert {(896, 1152), (832, 1216), (768, 1344), (1152, 896), (512, 2048)} <= set(frames)
    for height, width in frames:
        assert height % 64 == width % 64 == 0
        assert 0.85 * AREA <= height * width <= AREA
        assert (width, height) in frames


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_no_other_choice_of_as_many_shapes_crops_less(budget: int) -> None:
    sizes = pictures(200)
    best = min(lost(fill(sizes, list(some))) for some in itertools.combinations(candidates(AREA, 64), budget))
    chosen = choose(sizes, AREA, 64, budget)
    assert len(chosen) == budget
    assert lost(chosen) == pytest.approx(best)


def test_more_shapes_never_crop_more_and_the_budget_is_kept() -> None:
    sizes = pictures(500)
    losses = []
    for budget in range(1, 18):
        chosen = choose(sizes, AREA, 64, budget)
        assert len(chosen) <= budget
        assert sum(bucket.samples for bucket in chosen) == 500
        losses.append(lost(chosen))
    assert losses == sorted(losses, reverse=True)


def test_pictures_of_one_ratio_take_one_shape_however_many_are_allowed() -> None:
    chosen = choose(np.array([[1500, 1500]] * 9), AREA, 64, 8)
    assert [(bucket.frame, bucket.samples, bucket.cropped) for bucket in chosen] == [((1024, 1024), 9, 0.0)]


def test_the_share_that_is_cropped_is_what_covering_the_frame_loses() -> None:
    (bucket,) = fill(np.array([[2000, 1000]]), [(1024, 1024)])
    assert bucket.cropped == pytest.approx(0.5)


def test_unreadable_pictures_do_not_count_but_belong_somewhere() -> None:
    sizes = np.array([[0, 0], [1000, 1000]])
    assert [bucket.samples for bucket in choose(sizes, AREA, 64, 4)] == [1]
    assert [bucket.frame for bucket in choose(sizes[:1], AREA, 64, 4)] == [(1024, 1024)]
    assert assign(sizes, [(512, 2048), (1024, 1024)]).tolist() == [1, 1]


def test_a_step_larger_than_the_pictures_is_refused() -> None:
    with pytest.raises(UserError, match=r"bucket_step is 256, larger than the pictures, which are 128 pixels wide"):
        choose(pictures(3), 128 * 128, 256, 2)


def test_it_is_told_what_each_shape_holds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    describe(choose(np.array([[2000, 1000], [1000, 1000]]), AREA, 64, 1), logging.getLogger("mindloom"))
    assert "1 shapes for 2 pictures" in caplog.text
    assert "%" in caplog.text
