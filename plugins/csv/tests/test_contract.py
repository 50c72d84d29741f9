"""The plugin holds to the contract of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindloom.testing import Paintings, Pictures, PluginContract
from mindloom_csv import Csv
from mindloom_csv.writer import write


class TestCsv(PluginContract):
    plugin = Csv
    task = Pictures

    def data(self, folder: Path) -> Mapping[str, Any]:
        write(Paintings(12), folder)
        return {"data": {"path": str(folder)}}
