"""The three formats over one data plane: the same losses, and nothing lost or repeated through a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom.testing import Fitted, Pictures, Watch, fit
from mindloom.world import World
from mindloom_csv import Csv
from mindloom_ddp.testing import msrun
from mindloom_webdataset import Webdataset
from mindloom_webdataset.writer import write
from mindloom_wids import Wids
from PIL import Image

pytestmark = pytest.mark.together

COUNT = 200
WORKER = Path(__file__).with_name("train_formats.py")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same 200 pictures listed in a CSV file and as shards of 37."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "csv").mkdir()
    (folder / "tars").mkdir()
    lines = ["dir,text"]
    for number in range(COUNT):
        random = np.random.default_rng(number)
        pixels = random.integers(0, 256, (random.integers(30, 60), random.integers(30, 60), 3), np.uint8)
        Image.fromarray(pixels).save(folder / "csv" / f"{number:03d}.jpg", quality=60)
        lines.append(f"{number:03d}.jpg,picture {number}")
    (folder / "csv" / "list.csv").write_text("\n".join(lines) + "\n")
    source: Any = Csv().open(str(folder / "csv"), World())
    assert write((source[index] for index in range(COUNT)), folder / "tars", "text", 37) == COUNT
    assert len(list((folder / "tars").glob("*.tar"))) == 6
    return folder


def train(folder: Path, path: Path, plugin: Any, **settings: Any) -> tuple[Fitted, list[list[int]]]:
    data = {"path": str(path), **settings.pop("data", {})}
    fitted = fit(
        folder,
        [plugin, Watch],
        task=Pictures,
        steps=30,
        per_batch_size=8,
        save_path=str(folder / plugin.__name__),
        data=data,
        plugins={"pictures": {"random_crop": True, "flip": 0.5}},
        **settings,
    )
    watch: Any = fitted.plugins["watch"]
    return fitted, watch.taken


@pytest.mark.parametrize("shuffle", [True, False])
def test_formats_train_to_the_same_losses_in_the_same_order(tmp_path: Path, pictures: Path, shuffle: bool) -> None:
    settings = {"data": {"shuffle": shuffle}}
    listed, order = train(tmp_path, pictures / "csv", Csv, **settings)
    indexed, same = train(tmp_path, pictures / "tars", Wids, **settings)
    assert same == order
    assert indexed.losses == listed.losses
    np.testing.assert_array_equal(indexed.weights["weight"], listed.weights["weight"])
    streamed, other = train(tmp_path, pictures / "tars", Webdataset, **settings)
    if shuffle:
        assert other != order
        assert Counter(number for batch in other[:25] for number in batch) == dict.fromkeys(numbers(), 1)
    else:
        assert other == order
        assert streamed.losses == listed.losses
        np.testing.assert_array_equal(streamed.weights["weight"], listed.weights["weight"])


def numbers() -> list[int]:
    """What the toy task makes of the captions."""
    return [zlib.crc32(f"picture {number}".encode()) >> 1 for number in range(COUNT)]


def start(folder: Path, pictures: Path, world: int, attempt: int, kill: list[Any] | None = None) -> None:
    """Train, to the end or until a process kills itself; the second attempt resumes."""
    plugins = {"webdataset": {}, "checkpoint": {"every": 4}, **({"ddp": {}} if world > 1 else {})}
    settings = {
        "max_steps": 52,
        "per_batch_size": 8 // world,
        "save_path": str(folder / "run"),
        "save_path_with_time": False,
        "resume": "latest" if attempt else "",
        "log_interval": 4,
        "data": {"path": str(pictures / "tars")},
        "plugins": {**plugins, "pictures": {}},
    }
    job = {"plugins": [*plugins], "settings": settings, "kill": kill, "attempt": attempt}
    (folder / "job.json").write_text(json.dumps(job))
    if world == 1:
        done = subprocess.run([sys.executable, str(WORKER), str(folder)], capture_output=True, text=True, timeout=120)
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
        return
    with msrun(folder, str(WORKER), str(folder), workers=world) as launched:
        if kill:  # msrun takes half a minute to notice what the other process knows at once
            launched.until(lambda: "process 1 is gone" in launched.output(0))
        else:
            assert launched.wait(120) == 0, launched.output(0) + launched.output(1)


def kept(folder: Path, first: int, last: int) -> list[int]:
    """What steps took in the end: a step done again after a resume replaces its first try."""
    steps: dict[int, tuple[int, list[int]]] = {}
    for path in sorted(folder.glob("taken.*.txt")):
        attempt = int(path.name.split(".")[1])
        for line in path.read_text().splitlines():
            step, *taken = map(int, line.split())
            before = steps.get(step, (attempt, []))
            steps[step] = (attempt, taken + (before[1] if before[0] == attempt else []))
    return [number for step in range(first, last) for number in steps[step][1]]


def check(folder: Path) -> None:
    """Two epochs of 25 steps each took every picture once."""
    for epoch in range(2):
        taken = Counter(kept(folder, 25 * epoch, 25 * (epoch + 1)))
        assert taken == dict.fromkeys(numbers(), 1)


def test_a_killed_run_resumes_within_a_shard_and_equals_one_that_was_not_killed(tmp_path: Path, pictures: Path) -> None:
    """Killed at step 11, 88 samples into the first epoch, the last checkpoint at 64; shards have 37."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    start(killed, pictures, 1, 0, kill=["0", 11])
    start(killed, pictures, 1, 1)
    start(whole, pictures, 1, 0)
    check(killed)
    assert kept(killed, 0, 52) == kept(whole, 0, 52)
    models = [folder / "run" / "checkpoints" / "step-00000052" / "model.safetensors" for folder in (killed, whole)]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.slow
def test_a_killed_job_of_two_processes_resumes_with_two_and_with_one(tmp_path: Path, pictures: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    start(two, pictures, 2, 0, kill=["1", 11])
    shutil.copytree(two, one)
    start(two, pictures, 2, 1)
    check(two)
    start(one, pictures, 1, 1)
    check(one)
