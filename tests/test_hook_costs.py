"""The cost of all bundled plugins' hooks, guarded loosely; ``benchmarks/hooks.py`` measures it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.together

LIMIT = 1000
"""Microseconds: the mark is 200, and a busy machine or a slow disk is not what this test is about."""


def test_hooks_of_all_bundled_plugins_stay_far_below_a_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "benchmarks"), *sys.path])
    import hooks_run
    import screens

    with screens.in_file():
        run = hooks_run.everything(tmp_path, steps=150, log_interval=10, listening=True, bare=False)
    assert {"console", "tensorboard", "checkpoint", "validate", "fp16", "sdxl"} == set(run.listening)
    assert 0 < run.plain < LIMIT
    assert run.plain < run.average < LIMIT
