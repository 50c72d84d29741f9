"""The numbers that are shown."""

from __future__ import annotations

import pytest
from mindloom_console.figures import Pace, Smooth, counter, describe, duration, number


def test_the_average_is_exponential_and_bias_corrected() -> None:
    values, smooth = [3.0, 1.0, 4.0, 1.0, 5.0], Smooth(4)
    shown = [smooth.add(value) for value in values]
    for n in range(1, 6):
        weights = [0.75 ** (n - 1 - i) for i in range(n)]
        assert shown[n - 1] == pytest.approx(sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights))


def test_a_horizon_of_one_does_not_smooth() -> None:
    smooth = Smooth(1)
    assert [smooth.add(value) for value in (3.0, 1.0, 4.0)] == [3.0, 1.0, 4.0]


def test_time_left_counts_from_the_first_mark_whatever_a_dispatch_holds() -> None:
    pace = Pace()
    pace.mark(10, 100.0)  # the compiling dispatch ended here
    assert pace.left(100) is None
    pace.mark(20, 105.0)
    pace.mark(30, 110.0)
    assert pace.left(100) == pytest.approx(35.0)
    assert pace.left(30) == 0


def test_values_are_written_as_documented() -> None:
    record = {"loss": 0.01234, "lr": 1e-4, "grad_norm": 0.5312, "images_per_second": 18.24, "epoch": 1.0}
    assert describe(record, 0.02, "images") == {
        "loss": "0.0123", "smoothed": "0.0200", "lr": "1.0e-04", "grad": "0.531", "images/s": "18.2",
    }  # fmt: skip
    assert list(describe({"loss": 1.0}, 1.0, "images")) == ["loss", "smoothed"]
    assert [number(value) for value in (0.0, 12.5, 1e-5, -12345.0)] == ["0.0000", "12.5000", "1.000e-05", "-1.234e+04"]
    assert [duration(130), duration(3599.7)] == ["0:02:10", "1:00:00"]
    assert counter(4, 300) == "step   4/300"
