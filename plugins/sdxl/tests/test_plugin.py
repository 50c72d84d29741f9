"""Settings are refused in one line, and listing the plugin stays instant."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from mindloom import UserError
from mindloom_sdxl import Sdxl


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("preset", "huge", "base, tiny"),
        ("unconditional", "none", "auto, empty, zeros"),
        ("flip", 1.5, "0 to 1"),
        ("caption_dropout", -0.1, "0 to 1"),
        ("sample_steps", 0, "1 to 1000"),
        ("guidance", float("nan"), "0 to 100"),
        ("sample_batch", 0, "1 to"),
        ("offset_noise", -1, "0 to"),
        ("resolution", 1000, "multiple of 32"),
        ("resolution", 0, "multiple of 32"),
    ],
)
def test_impossible_settings_are_one_line_with_advice(name: str, value: Any, advice: str) -> None:
    with pytest.raises(UserError, match=advice) as caught:
        Sdxl(Sdxl.Config(**{name: value})).on_configure()
    assert caught.value.setting == f"plugins.sdxl.{name}"
    assert "\n" not in str(caught.value)


def test_defaults_are_accepted() -> None:
    Sdxl(Sdxl.Config()).on_configure()
    Sdxl(Sdxl.Config(preset="tiny", resolution=64)).on_configure()


def test_importing_the_plugin_imports_no_framework() -> None:
    code = "import sys, mindloom_sdxl; print({'mindspore', 'transformers', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.strip() == "set()"
