"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from mindloom.testing import PluginContract
from mindloom_native import Native


class TestNative(PluginContract):
    plugin = Native
