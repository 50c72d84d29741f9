"""A run that is killed, or told to end, while it trains on with a checkpoint half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mindloom.testing import Fitted

Run = Callable[..., Fitted]
HERE = Path(__file__).parent
SLOW = {"steps": 100_000, "log_interval": 10, "plugins": {"checkpoint": {"every": 5, "keep": 2}}}


def hashes(path: Path) -> dict[str, Any]:
    """What ``state.json`` of every checkpoint of a run says about its arrays' files."""
    files = {folder.name: json.loads((folder / "state.json").read_text())["files"] for folder in path.glob("*/step-*")}
    return {f"{step}/{name}": about for step, all_ in files.items() for name, about in all_.items() if "safe" in name}


def steps(path: Path) -> list[int]:
    return sorted(int(folder.name[-8:]) for folder in path.glob("checkpoints/step-*"))


@pytest.fixture
def half_way(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which trains on while its second checkpoint is half written."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "slow_toy.py"), str(tmp_path), json.dumps(SLOW)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLOG_v": "3"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "half-way").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process
    process.kill()
    process.communicate()


def test_kill_9_in_the_midst_of_writing_leaves_the_one_before(
    half_way: subprocess.Popen[str], run_toy: Run, tmp_path: Path
) -> None:
    half_way.kill()
    half_way.wait()
    left = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert left == [".tmp-step-00000010", "step-00000005"]
    rest = run_toy(every=5, keep=2, steps=100_000, stop_at=12, resume="latest")
    whole = run_toy("whole", every=5, keep=2, steps=100_000, stop_at=12)
    assert len(rest.losses) == 7
    assert rest.losses == whole.losses[5:]
    assert hashes(rest.path) == hashes(whole.path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_midst_of_writing_lets_it_end(
    half_way: subprocess.Popen[str], tmp_path: Path, number: int
) -> None:
    half_way.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        half_way.wait(timeout=0.5)
    assert steps(tmp_path / "run") == [5]
    (tmp_path / "go-on").touch()
    _, errors = half_way.communicate(timeout=60)
    # MindSpore turns a Ctrl-C during a dispatch into SIGTERM.
    assert half_way.returncode in (143, 128 + number), errors
    last = int((tmp_path / "run" / "step").read_text())
    found = steps(tmp_path / "run")
    assert found == sorted({10, last})
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    assert f"received at step {last} of 100000" in (tmp_path / "run" / "run.log").read_text()


def test_a_second_ctrl_c_does_not_wait(half_way: subprocess.Popen[str], tmp_path: Path) -> None:
    deadline = time.monotonic() + 30
    while half_way.poll() is None and time.monotonic() < deadline:
        half_way.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert half_way.returncode not in (None, 0)
    assert steps(tmp_path / "run") == [5]
