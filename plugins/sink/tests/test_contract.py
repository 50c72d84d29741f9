"""The plugin holds to the contract of plugins, with one step and with two in its own dispatches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindloom.testing import PluginContract
from mindloom_sink import Sink


class TestSingle(PluginContract):
    plugin = Sink
    settings: Mapping[str, Any] = {"size": 1}


class TestDouble(PluginContract):
    plugin = Sink
    settings: Mapping[str, Any] = {"size": 2}
    steps, stride = 8, 4
