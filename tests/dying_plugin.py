"""A plugin whose process is killed while it keeps a graph, half of which is written by then."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from mindloom import Plugin, hookimpl
from mindloom.graphs import store


class Dying(Plugin):
    """As ``kill -9`` would."""

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Wait for it."""

        def half(source: Path, target: Path) -> None:
            Path(target).write_bytes(Path(source).read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)

        store.shutil.copyfile = half
