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
        ("objective", "v_prediction", "epsilon, v, edm"),
        ("zero_terminal_snr", True, "needs objective=v"),
        ("min_snr_gamma", -1, "0 to"),
        ("timestep_bias", "late", "none, earlier, later, range"),
        ("timestep_bias_multiplier", 0, "1e-06 to"),
        ("timestep_bias_portion", 2, "0 to 1"),
        ("timestep_bias_begin", 1000, "0 to 999"),
        ("timestep_bias_end", 0, "1 to 1000"),
        ("dropout_form", "nothing", "empty, zeros"),
        ("train_text_encoder", "clip", "none, clip_l, clip_g, both"),
        ("caption_chunks", 0, "1 to 16"),
    ],
)
def test_impossible_settings_are_one_line_with_advice(name: str, value: Any, advice: str) -> None:
    with pytest.raises(UserError, match=advice) as caught:
        Sdxl(Sdxl.Config(**{name: value})).on_configure()
    assert caught.value.setting == f"plugins.sdxl.{name}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings", "advice"),
    [
        ("min_snr_gamma", {"min_snr_gamma": 5}, "weights of its own"),
        ("timestep_bias", {"timestep_bias": "later"}, "set it to none"),
        ("zero_terminal_snr", {"zero_terminal_snr": True}, "needs objective=v"),
        ("latents_std", {"latents_mean": [0, 0, 0, 0]}, "belong together"),
        ("latents_mean", {"latents_std": [1, 1, 1, 1]}, "belong together"),
        ("latents_mean", {"latents_mean": [0, 0], "latents_std": [1, 1]}, "four numbers"),
        ("latents_std", {"latents_mean": [0, 0, 0, 0], "latents_std": [1, 1, 0, 1]}, "above 0"),
        ("latents_mean", {"objective": "v", "latents_mean": [0] * 4, "latents_std": [1] * 4}, "leave it empty"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(name: str, settings: dict[str, Any], advice: str) -> None:
    with pytest.raises(UserError, match=advice) as caught:
        Sdxl(Sdxl.Config(**{"objective": "edm", **settings})).on_configure()
    assert caught.value.setting == f"plugins.sdxl.{name}"
    assert "\n" not in str(caught.value)


def test_defaults_are_accepted() -> None:
    Sdxl(Sdxl.Config()).on_configure()
    Sdxl(Sdxl.Config(preset="tiny", resolution=64)).on_configure()
    Sdxl(Sdxl.Config(objective="v", zero_terminal_snr=True, min_snr_gamma=5)).on_configure()
    Sdxl(Sdxl.Config(objective="edm", latents_mean=[0, 1, -1, 2], latents_std=[8, 5, 6, 5])).on_configure()


def test_importing_the_plugin_imports_no_framework() -> None:
    code = "import sys, mindloom_sdxl; print({'mindspore', 'transformers', 'torch'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert shown.strip() == "set()"
