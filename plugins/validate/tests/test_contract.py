"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindloom.testing import PluginContract
from mindloom_validate import Validate


class TestValidate(PluginContract):
    plugin = Validate
    settings: Mapping[str, Any] = {"every": 2, "samples": 4, "prompts": ["a red circle"]}

    def data(self, folder: Path) -> Mapping[str, Any]:
        for name in ("train", "held_out"):
            (folder / name).mkdir()
        return {
            "data": {"path": str(folder / "train")},
            "plugins": {"validate": {"data_path": str(folder / "held_out")}},
        }
