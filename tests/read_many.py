"""Reads samples of a format through the pipeline and prints what it cost: ``read_many.py FORMAT FOLDER COUNT...``."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from mindloom.config import build
from mindloom.data.opening import make_pipeline
from mindloom.discovery import discover
from mindloom.layers import Layers
from mindloom.registry import Registry
from mindloom.world import World


class Ids:
    """A task that only wants to know who came."""

    columns = ("id",)
    resolution = 32

    def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
        return {"id": np.array(int(sample["caption"].split()[-1]))}


def main(name: str, folder: str, counts: list[int]) -> None:
    """Open, then read to each count; memory is this process's, in MB."""
    layers = Layers()
    layers.set({"per_batch_size": 10, "data": {"path": folder, "format": name}}, "test")
    plugin = discover()[name].load()
    cfg = build(layers, {name: plugin.Config} if plugin.Config else {})
    plugins = Registry({name: plugin()}, None)
    plugins.call("on_configure", cfg=cfg)
    run: Any = SimpleNamespace(
        cfg=cfg, plugins=plugins, log=logging.getLogger("mindloom"), path=Path(folder), world=World(), task=Ids(),
        first_step=0, first_position=0, global_batch=10,
    )  # fmt: skip
    began = time.monotonic()
    pipeline = make_pipeline(run)
    opened, memory, done = time.monotonic() - began, [], 0
    seen: set[int] = set()
    first = 0.0
    for batch in pipeline.batches(0, counts[-1] // 10):
        first = first or time.monotonic() - began
        seen.update(batch.columns[0].tolist())
        done += 10
        if done in counts:
            memory.append(psutil.Process().memory_info().rss / 1e6)
    pipeline.close()
    report = {"samples": pipeline.samples, "opened": opened, "first": first, "memory": memory, "seen": len(seen)}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(count) for count in sys.argv[3:]])
