"""For every test, of the core and of plugins: the checkout on the import path, and MindSpore's environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOTS = [str(HERE / "core"), *(str(path.parent) for path in sorted(HERE.glob("plugins/*/setup.cfg")))]
sys.path[:0] = ROOTS
os.environ["PYTHONPATH"] = os.pathsep.join([*ROOTS, *filter(None, [os.environ.get("PYTHONPATH")])])  # sub-processes too
# MindSpore needs the Python implementation of protobuf and sets this itself, too late once TensorBoard is imported.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("GLOG_v", "3")
