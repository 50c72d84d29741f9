"""Trains on pictures in some format, in one process or many, and notes which samples every step took.

``python train_formats.py FOLDER`` reads ``job.json`` there: settings, the plugins, and perhaps a step at which one
process kills itself. Every process writes ``step caption-numbers`` to ``taken.<attempt>.<rank>.txt``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from mindloom import Plugin, hookimpl
from mindloom.discovery import discover
from mindloom.layers import Layers
from mindloom.session import configure, execute
from mindloom.testing import Pictures

RANK = os.environ.get("RANK_ID", "0")


class Note(Plugin):
    """Writes down what is taken, at once, since the process may be killed."""

    path: Path
    kill: tuple[str, int] | None = None

    @hookimpl(wrapper=True)
    def make_dataset(self) -> Generator[None, Any, Any]:
        """Look over the dataset's shoulder."""
        dataset = yield
        inner = dataset.batches

        def batches(first: int, last: int) -> Iterator[Any]:
            with open(self.path, "w", buffering=1) as file:
                for batch in inner(first, last):
                    print(batch.step, *batch.columns[1].ravel().tolist(), file=file)
                    yield batch

        dataset.batches = batches
        return dataset

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Die without a word, if that is the job."""
        if self.kill == (RANK, run.step):
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path) -> int:
    """Train."""
    logging.basicConfig(level=logging.INFO)
    job = json.loads((folder / "job.json").read_text())
    available = discover()
    classes: dict[str, type[Plugin]] = {name: available[name].load() for name in job["plugins"]}
    Note.path = folder / f"taken.{job['attempt']}.{RANK}.txt"
    Note.kill = tuple(job["kill"]) if job.get("kill") else None
    layers = Layers()
    layers.set(job["settings"], "test")
    return execute(*configure(layers, {**classes, "pictures": Pictures, "note": Note}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
