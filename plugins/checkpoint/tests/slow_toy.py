"""Train the toy task in a process of its own with a checkpointer that takes its time: FOLDER, then settings as JSON.

From its second save on it writes half of a file, says so by making ``half-way``, and goes on when told by ``go-on``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from mindloom import Plugin, hookimpl
from mindloom.testing import fit
from mindloom_checkpoint import Checkpoint, tensors


class Slow(Plugin):
    """Halts the writing of ``optimizer.safetensors``, of every checkpoint but the first."""

    @hookimpl(wrapper=True)
    def make_checkpointer(self, cfg: Any) -> Generator[None, Any, Any]:
        """Lay a layer around the writer of files."""
        store = yield
        write, folder, seen = tensors.write, Path(cfg.save_path).parent, []

        def slowly(path: Path, arrays: Any) -> Any:
            if path.name == "optimizer.safetensors":
                seen.append(path)
                if len(seen) > 1:
                    (folder / "half-way").touch()
                    deadline = time.monotonic() + 60
                    while not (folder / "go-on").exists() and time.monotonic() < deadline:
                        time.sleep(0.01)
            return write(path, arrays)

        tensors.write = slowly
        return store

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Show how far the training went, while a checkpoint is being written; and do not race through the steps."""
        (run.path / "step").write_text(str(run.step))
        time.sleep(0.01)


if __name__ == "__main__":
    plugins = {"checkpoint": Checkpoint, "slow": Slow}
    sys.exit(fit(Path(sys.argv[1]), plugins, **json.loads(sys.argv[2])).exit_code)
