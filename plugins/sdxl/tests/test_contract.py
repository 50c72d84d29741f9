"""The plugin holds to the contract of plugins, with the smallest model of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from mindloom.testing import Painted, PluginContract
from mindloom_sdxl import Sdxl
from mindloom_sdxl.presets import PRESETS, TINY
from mindloom_sdxl.tokens import TINY_ASSETS

MICRO = replace(
    TINY,
    name="micro",
    unet=replace(TINY.unet, channels=16, mult=(1,), res_blocks=0, depths=(1,), middle_depth=0),
    clip_l=replace(TINY.clip_l, layers=1),
    clip_g=replace(TINY.clip_g, layers=1),
    vae=replace(TINY.vae, channels=4, mult=(1, 1, 1, 1), res_blocks=0, groups=2),
    resolution=64,
)


class TestSdxl(PluginContract):
    plugin = task = Sdxl
    others = (Painted,)
    settings: Mapping[str, Any] = {
        "preset": "micro", "tokenizer": str(TINY_ASSETS), "random_crop": True, "flip": 0.5, "caption_dropout": 0.5,
    }  # fmt: skip

    @pytest.fixture(autouse=True)
    def _micro(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(PRESETS, "micro", MICRO)
