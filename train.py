"""The door: ``python train.py ...`` is ``mindloom train ...``, from a bare checkout or installed."""

from __future__ import annotations

import sys
from pathlib import Path

core = Path(__file__).resolve().parent / "core"
if core.is_dir():
    sys.path.insert(0, str(core))

from mindloom.cli import main_train  # noqa: E402  (the path above comes first)

if __name__ == "__main__":
    sys.exit(main_train())
