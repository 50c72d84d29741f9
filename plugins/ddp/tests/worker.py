"""One process of a test: trains the toy task as often as ``jobs.json`` says, and writes down what came out."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom import Plugin, TrainingError, hookimpl
from mindloom.checkpoint import Snapshot
from mindloom.testing import Fitted, Shelf, fit
from mindloom_ddp import Ddp


class Disk(Shelf):
    """Keeps checkpoints in files, for other processes to resume from; saves every second step."""

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        path = run_folder / f"step-{snapshot.meta['step']:08d}"
        arrays = {f"{group}:{name}": array for group, many in snapshot.arrays.items() for name, array in many.items()}
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, meta=np.frombuffer(json.dumps(snapshot.meta).encode(), np.uint8), **arrays)
        path.with_suffix(".part").rename(path.with_suffix(".npz"))
        return path.with_suffix(".npz")

    def find(self, what: str, root: Path) -> Path:
        return max(root.glob("*.npz")) if what == "latest" else Path(what)

    def latest(self, root: Path) -> Path | None:
        return None

    def load(self, path: Path) -> Snapshot:
        values = dict(np.load(path))
        arrays: dict[str, Any] = {"model": {}, "optimizer": {}, "plugins": {}}
        meta = json.loads(values.pop("meta").tobytes())
        for key, array in values.items():
            group, _, name = key.partition(":")
            arrays[group][name] = array
        return Snapshot(arrays, meta)

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Ask."""
        if run.step % 2 == 0:
            run.request_checkpoint(by=self.name)


class Behind(Disk):
    """Writes the checkpoint of step 2 while the fourth step is under way; notes when each process hears of one."""

    background = True

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.go_on, self.written = threading.Event(), threading.Event()

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        if snapshot.meta["step"] == 2:
            assert self.go_on.wait(60)
        path = super().save(snapshot, run_folder)
        self.written.set()
        return path

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Ask once, then let the thread go on, and see that it is done."""
        if run.step == 2:
            run.request_checkpoint(by=self.name)
        if run.step == 4 and run.world.is_main:
            self.go_on.set()
            assert self.written.wait(60)
            for thread in threading.enumerate():
                if thread.name == "saving":
                    thread.join()

    @hookimpl
    def on_checkpoint(self, run: Any, path: Path) -> None:
        """Note it."""
        with (run.path / f"told.{run.world.rank}").open("a") as file:
            file.write(f"step {run.step}: {path.name} of step {run.saved_step}\n")


class Thread(Disk):
    """Saves in a thread."""

    background = True


class Differ(Plugin):
    """Starts every process but the main one with other weights."""

    @hookimpl(wrapper=True)
    def make_step(self, run: Any) -> Any:
        """Change them."""
        step = yield
        if not run.world.is_main:
            for param in run.task.model.get_parameters():
                param.set_data(ms.Tensor(param.asnumpy() + run.world.rank))
        return step


def fill(bias: ms.Parameter, value: float) -> None:
    """Overwrite a parameter behind the trainer's back."""
    bias.set_data(ms.Tensor(np.full(bias.shape, value, np.float32)))


class Spoil(Plugin):
    """Another weight on process 1 after step 3, as a faulty memory would."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Change it."""
        if run.step == 3 and run.world.rank == 1:
            fill(run.task.model.bias, 0.25)


class Poison(Plugin):
    """NaN on the main process when step 4 is about to be saved."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Change it."""
        if run.step == 4 and run.world.is_main:
            fill(run.task.model.bias, np.nan)


PLUGINS = {
    "ddp": Ddp,
    "disk": Disk,
    "behind": Behind,
    "thread": Thread,
    "differ": Differ,
    "spoil": Spoil,
    "poison": Poison,
}


def write(folder: Path, job: str, rank: str, fitted: Fitted) -> None:
    """Losses and weights of one job on one process."""
    np.savez(folder / f"{job}.{rank}.npz", losses=fitted.losses, code=fitted.exit_code, **fitted.weights)


def main(folder: Path) -> int:
    """Run the jobs; an error ends those that do not expect one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rank = os.environ["RANK_ID"]
    if os.environ["MS_ROLE"] == "MS_WORKER":  # msrun starts this script as its scheduler too, which stays in init()
        (folder / f"pid.{rank}").write_text(str(os.getpid()))
    code = 0
    for job in json.loads((folder / "jobs.json").read_text()):
        place = folder / job["folder"]
        place.mkdir(exist_ok=True)
        classes = {"ddp": Ddp, **{name: PLUGINS[name] for name in job.get("plugins", [])}}
        try:
            fitted = fit(place, classes, **job["settings"])
        except TrainingError as error:
            (folder / f"{job['name']}.{rank}.error").write_text(str(error))
            code = 1
            if not job.get("fails"):
                raise
            continue
        write(folder, job["name"], rank, fitted)
        code = fitted.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
