"""The plugin holds to the contract of plugins."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindloom.testing import Paintings, Pictures, PluginContract
from mindloom_wids import Wids


class TestWids(PluginContract):
    plugin = Wids
    task = Pictures
    settings: Mapping[str, Any] = {"caption_key": "", "lru": 1}

    def data(self, folder: Path) -> Mapping[str, Any]:
        for shard in range(2):
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for sample in list(Paintings(12))[shard::2]:
                    for suffix, content in {"png": sample["image"], "txt": sample["caption"].encode()}.items():
                        member = tarfile.TarInfo(f"{sample['id']}.{suffix}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
        return {"data": {"path": str(folder)}}
