"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from mindloom.testing import PluginContract
from mindloom_recompute import Recompute


class TestRecompute(PluginContract):
    plugin = Recompute
