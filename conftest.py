"""For every test, of the core and of plugins: the checkout on the import path, and MindSpore's environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOTS = [str(HERE / "core"), *(str(path.parent) for path in sorted(HERE.glob("plugins/*/setup.cfg")))]
sys.path[:0] = ROOTS
os.environ["PYTHONPATH"] = os.pathsep.join([*ROOTS, *filter(None, [os.environ.get("PYTHONPATH")])])  # sub-processes too
# MindSpore needs protobuf's Python implementation and sets this itself; a test that imports TensorBoard first is earlier.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("GLOG_v", "3")
