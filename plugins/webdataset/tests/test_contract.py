"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindloom.testing import Paintings, Pictures, PluginContract
from mindloom_webdataset import Webdataset
from mindloom_webdataset.writer import write


class TestWebdataset(PluginContract):
    plugin = Webdataset
    task = Pictures
    settings: Mapping[str, Any] = {"shuffle_buffer": 3}

    def data(self, folder: Path) -> Mapping[str, Any]:
        write(Paintings(12), folder, caption_key="text", shard_samples=4)
        return {"data": {"path": str(folder)}}
