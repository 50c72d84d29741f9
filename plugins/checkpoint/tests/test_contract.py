"""The plugin holds to the contract of plugins, as the keeper of checkpoints too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindloom.testing import PluginContract
from mindloom_checkpoint import Checkpoint


class TestCheckpoint(PluginContract):
    plugin = Checkpoint
    settings: Mapping[str, Any] = {"every": 2, "keep": 1}
