"""The seam between tasks with a frozen part and whoever keeps its results: small, and optional on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from mindloom import UserError
from mindloom.testing import ToyTask, fit
from mindloom_cache import Cache

pytestmark = pytest.mark.together


def test_a_task_has_no_frozen_part_unless_it_says_so() -> None:
    assert ToyTask(4).frozen() is None
    assert ToyTask(4).resolution == 0


def test_caching_a_task_without_a_frozen_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frozen part to cache: switch it off with --plugins no:cache"):
        fit(tmp_path, [Cache], weight="some.npz", plugins={"cache": {"folder": str(tmp_path / "cache")}})


@pytest.mark.parametrize(("key", "value"), [("batch_size", 0), ("dtype", "int8")])
def test_settings_that_cannot_work_are_refused(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"plugins\.cache\.{key} must be") as raised:
        fit(tmp_path, [Cache], plugins={"cache": {key: value}})
    assert raised.value.setting == f"plugins.cache.{key}"
