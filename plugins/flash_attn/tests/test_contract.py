"""The plugin holds to the contract of plugins, on a task that has attention."""

from __future__ import annotations

import sys
from pathlib import Path

from mindloom.testing import PluginContract
from mindloom_flash_attn import FlashAttn

sys.path.insert(0, str(Path(__file__).parent))
from attentive import Attentive


class TestFlashAttn(PluginContract):
    plugin = FlashAttn
    name = "flash_attn"
    task = Attentive
