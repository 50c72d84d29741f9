"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindloom.testing import PluginContract
from mindloom_ema import Ema


class TestEma(PluginContract):
    plugin = Ema
    settings: Mapping[str, Any] = {"decay": 0.5, "start": 1}
