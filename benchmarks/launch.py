"""Real runs of ``train.py`` in processes of their own, and what they tell through ``marks.py``."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import ROOT

sys.path[:0] = [str(ROOT / "core")]

from marks import BEGAN, FOLDER  # noqa: E402
from mindloom.schema import DeviceConfig  # noqa: E402

CACHE = any(field.name == "compile_cache" for field in dataclasses.fields(DeviceConfig))
"""Whether the program can keep what it compiled."""
COLD = ["device.compile_cache=off"] if CACHE else []
"""For runs whose compiling is measured."""
MINUTES = 90
"""After which a run is given up: the recipe compiles for 38."""
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


@dataclass(frozen=True)
class Told:
    """What one process of a run wrote down, in order."""

    marks: list[dict[str, Any]]

    def first(self, name: str, what: str = "at") -> float:
        """Seconds of the first mark of this name, or something else that it has."""
        return next(float(mark[what]) for mark in self.marks if mark["mark"] == name)

    def took(self, begin: str, end: str, what: str = "at") -> float:
        """Seconds between two first marks."""
        return self.first(end, what) - self.first(begin, what)

    def steps(self, what: str = "at") -> list[float]:
        """Seconds a step of every dispatch but the first, which compiles; ``cpu``: of processors."""
        starts = [mark for mark in self.marks if mark["mark"] == "on_step_start"]
        ends = [mark for mark in self.marks if mark["mark"] == "on_step_end"]
        pairs = zip(starts, ends, strict=False)  # a run that ends early has begun one more
        return [(end[what] - start[what]) / end["steps"] for start, end in pairs][1:]

    @property
    def rates(self) -> list[float]:
        """Images a second over all processes, as the run logged them, from its second reading on if it has one."""
        logged = [mark["log"]["images_per_second"] for mark in self.marks if "images_per_second" in mark.get("log", {})]
        return logged[1:] or logged

    @property
    def seconds(self) -> float:
        """Of a step."""
        return statistics.median(self.steps())

    @property
    def compiled(self) -> float:
        """Seconds from the first dispatch's begin to its loss: compiling, and one dispatch."""
        return self.took("on_step_start", "on_step_end")

    @property
    def peak(self) -> float:
        """Highest resident size in GB."""
        return self.first("close", "peak")


def train(
    arguments: Sequence[str], cards: int = 1, log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Told:
    """Train with these arguments of ``train.py`` and return what the first process tells.

    Args:
        arguments: of ``train.py``; for several processes they must switch on the plugin that joins them.
        cards: processes, started by ``msrun`` when there are several.
        log: where the output goes; thrown away when the run succeeds, without one.
        environment: variables to set for it.

    Raises:
        RuntimeError: the run failed, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*(launcher(cards, Path(folder)) if cards > 1 else [sys.executable]), str(ROOT / "train.py")]
        command += [*arguments, "--plugins", str(ROOT / "benchmarks" / "marks.py")]
        # Not by settings, which would be others in each run and so keep it from the compile cache.
        marks = {FOLDER: folder, BEGAN: repr(time.monotonic())}
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PATH": PATH, **marks, **(environment or {})}, text=True,
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * MINUTES,
        )  # fmt: skip
        if log is not None:
            log.write_text(done.stdout, encoding="utf-8")
        if done.returncode:
            said = done.stdout + "".join(path.read_text() for path in sorted(Path(folder).glob("logs/worker_*.log")))
            raise RuntimeError(f"train.py ended with exit code {done.returncode}:\n{said[-3000:]}")
        lines = Path(folder, "0.jsonl").read_text(encoding="utf-8").splitlines()
    return Told([json.loads(line) for line in lines])


def launcher(cards: int, folder: Path) -> list[str]:
    """How several processes of this machine are started; msrun knows an interpreter by the word "python" only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = {"worker_num": cards, "local_worker_num": cards, "master_port": port, "join": True}
    options = [f"--{name}={value}" for name, value in asked.items()]
    return [sys.executable, "-m", "mindspore.parallel.cluster.run", *options, f"--log_dir={folder / 'logs'}", "python"]


def draw(folder: Path, count: int) -> Path:
    """Draw captioned pictures and return the folder to train from."""
    tool = ROOT / "tools" / "draw_shapes.py"
    asked = [str(folder), "--theme", "demo", "--count", str(count), "--holdout", "2"]
    subprocess.run([sys.executable, str(tool), *asked], check=True, stdout=subprocess.DEVNULL)
    return folder / "train"
