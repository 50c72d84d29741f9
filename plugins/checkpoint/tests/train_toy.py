"""Train the toy task with checkpoints in a process of its own, to be killed: FOLDER, then settings as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mindloom.testing import fit
from mindloom_checkpoint import Checkpoint

if __name__ == "__main__":
    sys.exit(fit(Path(sys.argv[1]), {"checkpoint": Checkpoint}, **json.loads(sys.argv[2])).exit_code)
