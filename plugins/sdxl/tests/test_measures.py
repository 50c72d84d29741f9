"""Counting a caption's tokens."""

from __future__ import annotations

from mindloom_sdxl import Sdxl
from mindloom_sdxl.measures import tokens


def test_start_and_end_count_and_nothing_is_cut() -> None:
    count = tokens(Sdxl.Config(preset="tiny"))
    assert count.limit == 77
    assert count("") == 2
    assert count("a red circle on a light background") == 9  # the tiny vocabulary has a token for each of these words
    assert count("red " * 500) == 502
    assert all(count(text) > 2 for text in ("🦉", "一只猫头鹰", "\x00x", "x" * 10_000))
