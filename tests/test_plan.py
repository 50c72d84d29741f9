"""The plan: every epoch a permutation, and random numbers that depend on (seed, position, purpose) only."""

from __future__ import annotations

import numpy as np
import pytest
from mindloom.plan import Plan, stream


@pytest.mark.parametrize("samples", [1, 2, 7, 100])
def test_every_epoch_is_a_permutation(samples: int) -> None:
    plan = Plan(samples, seed=3)
    for epoch in range(5):
        order = [plan.index(epoch * samples + place) for place in range(samples)]
        assert sorted(order) == list(range(samples))


def test_epochs_and_seeds_have_different_orders() -> None:
    orders = {tuple(Plan(50, seed).index(epoch * 50 + i) for i in range(50)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_without_shuffling_the_order_is_the_sources() -> None:
    assert [Plan(3, 1, shuffle=False).index(position) for position in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_substitutes_of_a_position_are_the_rest_of_its_epoch() -> None:
    plan = Plan(10, seed=5)
    assert sorted(plan.index(17, skip) for skip in range(10)) == list(range(10))
    assert plan.index(17, 1) == plan.index(18)
    assert plan.index(19, 1) == plan.index(10)


def test_the_order_is_the_same_in_every_version() -> None:
    # Golden: what a checkpoint of an earlier version goes on with.
    assert [Plan(8, seed=42).index(position) for position in range(8)] == [7, 6, 4, 0, 5, 2, 1, 3]


def test_draws_repeat_and_differ_by_seed_position_and_purpose() -> None:
    def first(seed: int, position: int, purpose: str) -> float:
        return float(Plan(10, seed).draw(position)(purpose).standard_normal())

    assert first(1, 2, "noise") == first(1, 2, "noise")
    assert len({first(1, 2, "noise"), first(2, 2, "noise"), first(1, 3, "noise"), first(1, 2, "crop")}) == 4


def test_no_draw_meets_the_order_of_an_epoch() -> None:
    order = [Plan(50, seed=3).index(position) for position in range(50)]
    for purpose in ("order", "epoch", "", "\0"):
        assert Plan(50, seed=3).draw(0)(purpose).permutation(50).tolist() != order


def test_streams_look_independent() -> None:
    noise = np.stack([stream(7, position, "noise").standard_normal(2000) for position in range(20)])
    correlation = np.corrcoef(noise) - np.eye(20)
    assert np.abs(correlation).max() < 0.12  # 5 sigma of 1/sqrt(2000)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1) < 0.02


def test_the_largest_seed_and_far_positions_work() -> None:
    assert 0 <= Plan(10, 2**63 - 1).index(10**12) < 10
    Plan(10, 2**63 - 1).draw(10**15)("noise").standard_normal()
