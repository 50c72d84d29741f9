"""Several places in one run: shares kept, nobody left out, mistakes refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from mindloom import UserError
from mindloom.data.mix import Joined, MixOrder, parse, takes, whole
from mindloom.formats import SampleError
from mindloom.testing import Numbers


def order(entries: list[Any], counts: list[int], shuffle: bool = True) -> MixOrder:
    return MixOrder(counts, takes(parse(entries), counts), seed=1, shuffle=shuffle)


def test_repeats_multiply_and_weights_divide_an_epoch() -> None:
    assert takes(parse([{"path": "a", "repeats": 3}, "b"]), [10, 7]) == [30, 7]
    assert takes(parse([{"path": "a", "weight": 3}, {"path": "b", "weight": 1}]), [10, 70]) == [60, 20]


@pytest.mark.parametrize("shuffle", [True, False])
def test_samples_of_a_place_come_equally_often(shuffle: bool) -> None:
    plan = order([{"path": "a", "repeats": 2.5}, {"path": "b", "repeats": 0.4}], [4, 10], shuffle)
    assert plan.samples == 14
    counts = Counter(plan.index(position) for position in range(14 * 50))
    assert {counts[index] for index in range(4)} == {125}
    assert {counts[index] for index in range(4, 14)} == {20}


def test_without_shuffling_places_come_one_after_another() -> None:
    plan = order([{"path": "a", "repeats": 2}, "b"], [2, 3], shuffle=False)
    assert [plan.index(position) for position in range(7)] == [0, 1, 0, 1, 2, 3, 4]


def test_substitutes_come_from_the_same_place() -> None:
    plan = order(["a", "b"], [3, 5])
    for position in range(8):
        first = plan.index(position)
        found = {plan.index(position, skip) for skip in range(8)}
        assert found == (set(range(3)) if first < 3 else set(range(3, 8)))


def test_buckets_take_whole_repeats_only() -> None:
    assert whole(parse([{"path": "a", "repeats": 2}, "b"]), [2, 3]).tolist() == [2, 2, 1, 1, 1]
    with pytest.raises(UserError, match=r"with buckets, data.mix takes whole repeats only: a would come 1.50 times"):
        whole(parse([{"path": "a", "repeats": 1.5}]), [2])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([3], "entry 1 of data.mix must be like"),
        ([{"repeats": 2}], "must be like"),
        (["a", {"path": "b", "repeat": 2}], "entry 2 of data.mix knows no 'repeat'"),
        ([{"path": "b", "repeats": 0}], "repeats must be a number above 0"),
        ([{"path": "b", "weight": True}], "weight must be a number above 0"),
        ([{"path": "b", "weight": 1, "repeats": 1}], "has repeats and a weight"),
        ([{"path": "a", "weight": 1}, "b"], "either all entries of data.mix have a weight, or none"),
    ],
)
def test_entries_that_make_no_sense_are_refused(entries: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(entries)
    assert caught.value.setting == "data.mix"


class Broken(Numbers):
    """Its samples cannot be read; it has stamps and notes that it is closed."""

    closed = False

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise SampleError("bad", f"s{index}", "there")

    def stamp(self, index: int) -> str:
        return f"t{index}"

    def close(self) -> None:
        self.closed = True


def test_joined_samples_tell_where_they_come_from() -> None:
    broken = Broken(2)
    joined = Joined([Numbers(3), broken], parse(["a", "b"]))
    assert len(joined) == 5
    assert [joined[index]["id"] for index in range(3)] == ["a/sample-0", "a/sample-1", "a/sample-2"]
    with pytest.raises(SampleError) as caught:
        joined[4]
    assert (caught.value.id, caught.value.where, str(caught.value)) == ("b/s1", "there", "bad")
    assert joined.stamp is None
    both = Joined([broken, broken], parse(["a", "b"]))
    assert both.stamp
    assert [both.stamp(index) for index in (1, 3)] == ["a/t1", "b/t1"]
    joined.close()
    assert broken.closed
