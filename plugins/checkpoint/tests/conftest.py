"""What the tests of checkpoints share: small snapshots, a store, and toy runs here and in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom.checkpoint import Snapshot
from mindloom.testing import Fitted, fit
from mindloom_checkpoint import Checkpoint
from mindloom_checkpoint.store import Store

HERE = Path(__file__).parent


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """Make a snapshot of a step, with weights of one value."""

    def make(step: int, value: float = 1.0, **plugins: Any) -> Snapshot:
        arrays = {
            "model": {"unet.weight": np.full((3, 2), value, np.float32)},
            "optimizer": {"steps": np.array(float(step), np.float32), "exp_avg.weight": np.ones((3, 2), np.float32)},
            "plugins": {},
        }
        return Snapshot(arrays, {"format": 1, "step": step, "plugins": plugins})

    return make


@pytest.fixture
def store() -> Store:
    """A store that keeps everything."""
    return Store("max_steps: 9\n", keep=0)


@pytest.fixture
def run_toy(tmp_path: Path) -> Callable[..., Fitted]:
    """Train the toy task in this process, saving every so many steps."""

    def run(
        folder: str = "", every: int = 0, keep: int = 0, plugins: dict[str, Any] | None = None, **more: Any
    ) -> Fitted:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        sections = {"checkpoint": {"every": every, "keep": keep}}
        return fit(place, {"checkpoint": Checkpoint, **(plugins or {})}, **{"plugins": sections, **more})

    return run


@pytest.fixture
def start_toy(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``train_toy.py`` in the folder of ``run_toy`` and wait until it has saved something new."""
    started: list[subprocess.Popen[str]] = []

    def start(**settings: Any) -> subprocess.Popen[str]:
        before = saved(tmp_path)
        process = subprocess.Popen(
            [sys.executable, str(HERE / "train_toy.py"), str(tmp_path), json.dumps(settings)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLOG_v": "3"},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        deadline = time.monotonic() + 60
        while saved(tmp_path) <= before:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no checkpoint within a minute"
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def saved(folder: Path) -> str:
    """Name of the run's last checkpoint, complete or not."""
    return max((path.name for path in folder.glob("run/checkpoints/step-*")), default="")
