"""A process that trains as often as it is told, with a compile cache, and prints what came out as JSON."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from mindloom.testing import fit

MARK = "RESULT "


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def load(wish: str) -> type[Any]:
    """Import ``module:Class``."""
    module, _, name = wish.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def lose_entries(cache: Path, processes: str) -> None:
    """Remove what some process, such as ``1 of 2``, keeps there."""
    for about in cache.glob("*/entry.json"):
        if json.loads(about.read_text())["parts"]["processes"] == processes:
            shutil.rmtree(about.parent)


def train(folder: str, cache: str, task: str = "mindloom.testing:Toy", plugins: Any = (), **settings: Any) -> Any:
    """Train once; return the losses, a digest of the weights, how many graphs came from where, and what was said."""
    if processes := settings.pop("lose", ""):
        lose_entries(Path(cache), processes)
    lines = Lines()
    logging.getLogger("mindloom").addHandler(lines)
    settings["device"] = {"compile_cache": cache}
    began = time.process_time()
    done = fit(Path(folder), [load(wish) for wish in plugins], task=load(task), **settings)
    logging.getLogger("mindloom").removeHandler(lines)
    recorder: Any = done.plugins["recorder"]
    graphs = recorder.run.graphs
    weights = hashlib.sha256(b"".join(name.encode() + done.weights[name].tobytes() for name in sorted(done.weights)))
    return {
        "losses": [loss.hex() for loss in done.losses],
        "weights": weights.hexdigest(),
        "loaded": graphs.loaded,
        "compiled": graphs.compiled,
        "cpu": time.process_time() - began,
        "said": [line for line in lines.lines if line.startswith("compile cache")],
    }


def main() -> None:
    """Do the jobs of the file ``sys.argv[1]``; print results, or write them beside it, by rank, if there are ranks."""
    jobs = Path(sys.argv[1])
    text = json.dumps([train(**job) for job in json.loads(jobs.read_text())])
    if rank := os.environ.get("RANK_ID"):
        jobs.with_name(f"results-{rank}.json").write_text(text)
    print(MARK + text)


if __name__ == "__main__":
    main()
