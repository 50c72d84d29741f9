"""Checkpoints: how long the loop stands still for one, and bytes a second of a save against a plain copy.

    python benchmarks/checkpoint.py                # prints a table, writes benchmarks/results/checkpoint.{md,json}
    python benchmarks/checkpoint.py --on /big/disk # saves there

A linear model of 42 million parameters trains with AdamW, so that a checkpoint holds about 500 MB. Runs that save in
the background and runs that save in the loop alternate, each in a process of its own; the first save of a process, for
which the system has to find the memory, has a row of its own. A plain copy writes the bytes of a checkpoint's files,
which are in memory, to new files, and syncs them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / "core"), str(ROOT / "plugins" / "checkpoint"), str(ROOT / "benchmarks")]
sys.path[:0] = PATHS

from report import arguments, write  # noqa: E402

MARK = 0.15
"""Stall of the loop allowed, in stalls of a run that saves in the loop."""
SAVES, WIDTH, LAYERS = 4, 2048, 10
MODES = {"background": True, "in the loop": False}


def train(folder: Path, background: bool) -> dict[str, Any]:
    """Train until some checkpoints are saved; return seconds between dispatches with a save, and of a plain copy."""
    from mindloom import Plugin, hookimpl
    from mindloom.testing import fit
    from mindloom_checkpoint import Checkpoint

    stalls: list[float] = []
    quiet: list[float] = []
    busy: list[float] = []
    copies: list[tuple[int, float]] = []

    class Gap(Plugin):
        """Asks for a checkpoint some steps after the last one, and takes the time until the next dispatch."""

        asked = writing = False
        ended = began = 0.0
        rest = 3

        @hookimpl
        def on_step_start(self) -> None:
            """The loop goes on."""
            self.began = time.perf_counter()
            if self.asked:
                stalls.append(self.began - self.ended)
                self.asked = False

        @hookimpl
        def on_step_end(self, run: Any, result: Any) -> None:
            """The loop may stand still from here."""
            result.loss.asnumpy()  # the rest of a step is no stall: a copy would wait for it
            self.ended = time.perf_counter()
            (busy if self.writing else quiet).append(self.ended - self.began)
            self.rest -= not self.writing
            if self.rest == 0 and not self.writing:
                if len(stalls) == SAVES:
                    run.stop("measured")
                else:
                    self.asked = self.writing = True
                    run.request_checkpoint(by=self.name)

        @hookimpl
        def on_checkpoint(self, path: Path) -> None:
            """Durable."""
            if self.writing and not background:
                # In the same state of the machine; what this takes is taken off the stall.
                began = time.perf_counter()
                copies.append(plain_copy(path))
                self.ended += time.perf_counter() - began
            self.writing, self.rest = False, 3

    fit(
        folder, {"checkpoint": Checkpoint, "gap": Gap}, steps=100_000, log_interval=100_000, per_batch_size=1,
        toy={"width": WIDTH, "hidden": LAYERS}, optim={"lr": 1e-7},
        checkpoint={"every": 0, "keep": 1, "background": background},
    )  # fmt: skip
    return {"stalls": stalls, "quiet": quiet[2:], "busy": busy, "copies": copies}


def plain_copy(path: Path) -> tuple[int, float]:
    """Bytes of a checkpoint's files, and seconds for writing and syncing them again."""
    contents = [file.read_bytes() for file in path.iterdir()]
    began = time.perf_counter()
    for number, content in enumerate(contents):
        with (path.parent / f".tmp-copy-{number}").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    taken = time.perf_counter() - began
    for number in range(len(contents)):
        (path.parent / f".tmp-copy-{number}").unlink()
    return sum(map(len, contents)), taken


def measure(background: bool, place: Path) -> dict[str, Any]:
    """What a process says that trained."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "GLOG_v": "3"}
        done = subprocess.run(
            [sys.executable, __file__, "--train", folder, *(["--background"] if background else [])],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def row(name: str, values: list[float]) -> list[Any]:
    """Median, least and most."""
    return [name, f"{statistics.median(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"]


def table(told: dict[str, list[dict[str, Any]]]) -> tuple[list[list[Any]], float]:
    """The rows, and the ratio that has a mark."""
    rows: list[list[Any]] = []
    later: dict[str, list[float]] = {}
    for name in MODES:
        later[name] = [stall for run in told[name] for stall in run["stalls"][1:]]
        rows.append(row(f"stall, saving {name} (s)", later[name]))
        rows.append(row(f"stall, saving {name}, first of a process (s)", [run["stalls"][0] for run in told[name]]))
    pairs = zip(*(told[name] for name in MODES), strict=True)
    ratios = [statistics.median(one["stalls"][1:]) / statistics.median(other["stalls"][1:]) for one, other in pairs]
    rows.append(row(f"stall, background / in the loop (mark: {MARK})", ratios))
    rows.append(row("step, nothing being written (s)", [step for run in told["background"] for step in run["quiet"]]))
    rows.append(row("step, while a checkpoint is written (s)", [s for run in told["background"] for s in run["busy"]]))
    copies = [copy for run in told["in the loop"] for copy in run["copies"][1:]]
    size = copies[0][0]
    rows.append(row("save, with copy, check and hash (MB/s)", [size / 1e6 / s for s in later["in the loop"]]))
    rows.append(row("plain copy with fsync (MB/s)", [size / 1e6 / seconds for _, seconds in copies]))
    slower = [stall / copy[1] for stall, copy in zip(later["in the loop"], copies, strict=True)]
    rows.append(row("save / plain copy (time)", slower))
    return rows, statistics.median(ratios)


def main() -> int:
    """Measure and write the table; the exit code is 1 if the loop stands still for too long."""
    parser = arguments(__doc__)
    parser.add_argument("--on", type=Path, default=Path(tempfile.gettempdir()), help="where checkpoints are saved")
    parser.add_argument("--rounds", type=int, help="runs of each kind")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        print(json.dumps(train(args.train, args.background)))
        return 0
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in MODES}
    for _ in range(args.rounds or (1 if args.quick else 2)):
        for name, background in MODES.items():
            told[name].append(measure(background, args.on))
            print(f"{name}: {', '.join(f'{stall:.2f}' for stall in told[name][-1]['stalls'])} s", file=sys.stderr)
    rows, ratio = table(told)
    size = told["in the loop"][0]["copies"][0][0] / 1e6
    said = f"stall of a save in the background: {ratio:.3f} of one in the loop (mark: {MARK})"
    title = f"Checkpoints of {size:.0f} MB"
    write("checkpoint", title, ["what", "median", "least", "most"], rows, args.out, said)
    return int(ratio > MARK)


if __name__ == "__main__":
    sys.exit(main())
