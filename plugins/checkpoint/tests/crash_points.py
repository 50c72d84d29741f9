"""Kill a save before each of its changes to the file system, one after the other, and look at what is left.

Needs no MindSpore, and must not have it: the process forks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from mindloom.checkpoint import Snapshot
from mindloom_checkpoint.store import FOLDER, Store

CHANGES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove"}


def snapshot(step: int, value: float) -> Snapshot:
    weights = {"weight": np.full((3, 2), value, np.float32)}
    return Snapshot({"model": weights, "optimizer": {}, "plugins": {}}, {"format": 1, "step": step, "plugins": {}})


def die_before(change: int) -> None:
    """Let this process end, without any clean-up, before its ``change``-th change."""
    left = change

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in CHANGES:
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(watch)


def check(folder: Path, change: int) -> tuple[int, float]:
    """Save steps 1 and 2, then 2 again and 3 with a kill in between; return what is found afterwards."""
    store = Store("", keep=2)
    store.save(snapshot(1, 1.0), folder)
    store.save(snapshot(2, 2.0), folder)
    child = os.fork()
    if child == 0:
        die_before(change)
        store.save(snapshot(2, 2.5), folder)
        store.save(snapshot(3, 3.0), folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    finished = os.waitstatus_to_exitcode(status) == 0
    found = store.latest(folder)
    assert found is not None, "no complete checkpoint is left"
    loaded = store.load(found)
    assert store.run_folder(found) == folder
    store.save(snapshot(4, 4.0), folder)
    left = sorted(path.name for path in (folder / FOLDER).iterdir())
    assert len(left) == 2, left
    assert left[-1] == "step-00000004", left
    assert not any(name.startswith(".tmp") for name in left), left
    return (99 if finished else loaded.meta["step"]), float(loaded.arrays["model"]["weight"][0, 0])


if __name__ == "__main__":
    os.fsync = lambda number: None  # type: ignore[assignment]  # a killed process loses nothing that it wrote
    seen: list[float] = []
    for change in range(1000):
        step, value = check(Path(sys.argv[1], str(change)), change)
        seen.append(value)
        if step == 99:
            break
    assert seen == sorted(seen), seen
    assert set(seen) == {2.0, 2.5, 3.0}, seen
    print(len(seen), "points")
