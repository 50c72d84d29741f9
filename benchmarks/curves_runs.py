"""What ``curves.py`` measures: training steps of a UNet, runs of several ranks, and starts on long data sets."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launch import COLD, Told, draw, train
from marks import resident
from report import ROOT
from sides import Waiting
from unet import Workload, mindspore_step

Point = dict[str, Any]
"""``at``: the place on the curve; ``step``, ``processor``: seconds of every step; further numbers by name."""
PLUGINS = ("native", "flash_attn")
PICTURES = 64
"""Rows of a long list whose pictures exist: the first ones, which are all that is read."""


def be_case(text: str) -> None:
    """In a process of its own: build, do a first step, then as many steps as the input's line says."""
    work = Workload(**json.loads(text))
    build = mindspore_step(work, PLUGINS)
    before, began, spent = resident("VmRSS"), time.perf_counter(), time.process_time()
    step = build()
    step()
    print(
        json.dumps({"first": time.perf_counter() - began, "first_processor": time.process_time() - spent}), flush=True
    )
    for line in sys.stdin:
        wall, processor = [], []
        for _ in range(int(line)):
            began, spent = time.perf_counter(), time.process_time()
            step()
            wall.append(time.perf_counter() - began)
            processor.append(time.process_time() - spent)
        print(
            json.dumps({"step": wall, "processor": processor, "peak": resident("VmHWM"), "before": before}), flush=True
        )


def unet_steps(script: str, work: Workload, at: int, steps: int) -> Point:
    """Steps of one size, after one that warms up."""
    side = Waiting(script, "--case", json.dumps(dataclasses.asdict(work)))
    try:
        side.ask(1)
        return {"at": at, **side.told, **side.ask(steps)}
    finally:
        side.end()


def rank_steps(folder: Path, ranks: int, steps: int) -> Point:
    """A tiny Stable Diffusion XL with a batch of 2 on every rank."""
    data = folder / "drawn" / "train"
    if not data.exists():
        draw(folder / "drawn", 48)
    config = ROOT / "configs" / "training" / "tiny_sd_xl_base_finetune_910b_fa.yaml"
    switches = "no:checkpoint,native" + (",ddp" if ranks > 1 else "")
    settings = {"data.path": data, "save_path": folder, "per_batch_size": 2, "max_steps": steps + 2, "log_interval": 1}
    texts = [f"{name}={value}" for name, value in settings.items()]
    told = train(["--config", str(config), "--plugins", switches, *texts, *COLD], ranks)
    wall = told.steps()[1:]
    more = {"images": [2 * ranks / seconds for seconds in wall], "processor": told.steps("cpu")[1:]}
    return {"at": ranks, "step": wall, **more, **started(told), "first": told.compiled, "peak": told.peak}


def started(told: Told) -> Point:
    """How a run began."""
    opened, resident_ = told.took("before make_dataset", "make_dataset"), told.first("on_step_end", "resident")
    return {"start": told.first("on_step_end"), "opened": opened, "resident": resident_}


def start_on(kind: str, data: Path, count: int, runs: int) -> Point:
    """Runs of two steps on ``count`` samples, of a task that compiles in a second."""
    settings = {"data.path": data, "save_path": data.parent, "per_batch_size": 4, "max_steps": 2, "log_interval": 1}
    texts = [f"{name}={value}" for name, value in {**settings, "data.shuffle": kind != "csv"}.items()]
    found = [started(train(["--plugins", f"pictures,{kind}", *texts, *COLD])) for _ in range(runs)]
    return {"at": count, "format": kind, **{name: [one[name] for one in found] for name in found[0]}}


def long_list(folder: Path, count: int) -> Path:
    """A CSV of ``count`` rows."""
    source = folder / "few"
    if not source.exists():
        draw(source, PICTURES)
    names = sorted(path.name for path in (source / "train").glob("*.jpg"))
    place = folder / f"list-{count}"
    place.mkdir()
    for name in names:
        (place / name).write_bytes((source / "train" / name).read_bytes())
    with (place / "img_txt.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["dir", "text"])
        for number in range(count):
            name = names[number] if number < len(names) else f"pictures/{number:07d}.jpg"
            table.writerow([name, f"a large red star on a navy background, number {number}"])
    return place


def many_shards(folder: Path, count: int) -> Path:
    """Tar shards of ``count`` samples, 1000 in each, as they come from a camera that nobody indexed."""
    sys.path[:0] = [str(ROOT / "plugins" / "webdataset")]
    from mindloom_webdataset.writer import write

    source = folder / "few"
    if not source.exists():
        draw(source, PICTURES)
    picture = min((source / "train").glob("*.jpg"), key=lambda path: path.stat().st_size).read_bytes()

    def samples() -> Iterator[Any]:
        for number in range(count):
            yield {"id": f"{number:07d}", "image": picture, "caption": f"a star, number {number}"}

    place = folder / f"shards-{count}"
    place.mkdir()
    write(samples(), place, "text", 1000)
    (place / "data_info.json").unlink(missing_ok=True)  # counting is what is measured
    return place
