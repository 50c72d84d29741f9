"""The plugin holds to the contract of plugins, with the smallest model of its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from mindloom.testing import Painted, PluginContract
from mindloom_sdxl import Sdxl
from mindloom_sdxl.testing import SETTINGS, micro


class TestSdxl(PluginContract):
    plugin = task = Sdxl
    others = (Painted,)
    settings: Mapping[str, Any] = {**SETTINGS, "random_crop": True, "flip": 0.5, "caption_dropout": 0.5}

    @pytest.fixture(autouse=True)
    def _micro(self) -> Iterator[None]:
        with micro():
            yield
