"""The plugin holds to the contract of plugins, in both of its modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindloom.testing import PluginContract
from mindloom_fp16 import Fp16


class TestParam(PluginContract):
    plugin = Fp16
    settings: Mapping[str, Any] = {"mode": "param", "patience": 3}


class TestAmp(PluginContract):
    plugin = Fp16
    settings: Mapping[str, Any] = {"mode": "amp", "patience": 3}
