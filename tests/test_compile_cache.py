"""Graphs that outlive their process: the next one trains the same, sooner, and whatever changes a graph is noticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom_ddp.testing import msrun
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from train_cached import MARK, train

pytestmark = pytest.mark.together

DRIVER = Path(__file__).with_name("train_cached.py")
EVERYTHING = ["mindloom_sink:Sink", "mindloom_ema:Ema", "mindloom_fp16:Fp16"]
DEEP = {"toy": {"hidden": 12}}
Job = dict[str, Any]
Start = Callable[..., subprocess.Popen[str]]


def draw(folder: Path) -> Path:
    """Pictures of three shapes."""
    folder.mkdir()
    lines = ["dir,text"]
    for number, (width, height) in enumerate([(40, 40)] * 5 + [(80, 40)] * 9 + [(30, 90)] * 4):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,picture {number}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Begin a process that does some jobs."""

    def begin(*jobs: Job, extra: str = "") -> subprocess.Popen[str]:
        numbers = (tmp_path / f"jobs-{number}.json" for number in range(1000))
        file = next(path for path in numbers if not path.exists())
        file.write_text(
            json.dumps([{"cache": str(tmp_path / "cache"), "folder": str(tmp_path), **job} for job in jobs])
        )
        path = os.pathsep.join([extra, str(DRIVER.parent), str(tmp_path), os.environ["PYTHONPATH"]])
        return subprocess.Popen(
            [sys.executable, str(DRIVER), str(file)], env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return begin


def results(process: subprocess.Popen[str]) -> list[Any]:
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    found: list[Any] = json.loads(out.partition(MARK)[2])
    return found


def same(first: Any, second: Any) -> bool:
    return (first["losses"], first["weights"]) == (second["losses"], second["weights"])


def test_a_second_process_trains_the_same_bits_and_begins_sooner(start: Start) -> None:
    (cold,) = results(start(DEEP))
    (warm,) = results(start(DEEP))
    assert (cold["loaded"], cold["compiled"]) == (0, 1)
    assert (warm["loaded"], warm["compiled"]) == (1, 0)
    assert same(cold, warm)
    assert warm["seconds"] < 0.75 * cold["seconds"]


def test_loops_averages_half_precision_own_kernels_and_several_graphs_are_loaded(start: Start, tmp_path: Path) -> None:
    draw(tmp_path / "data")
    buckets = {
        "task": "mindloom.testing:Pictures",
        "plugins": ["mindloom_csv:Csv"],
        "data": {"path": str(tmp_path / "data"), "buckets": 3, "bucket_step": 8},
        "steps": 6,
    }
    jobs: list[Job] = [
        {
            "plugins": EVERYTHING,
            "sink": {"size": 2},
            "steps": 6,
            "log_interval": 2,
            "gradient_accumulation_steps": 2,
        },
        {"task": "attentive_task:Attentive", "plugins": ["mindloom_flash_attn:FlashAttn"]},
        buckets,
    ]
    cold = results(start(*jobs))
    warm = results(start(*reversed(jobs)))[::-1]
    assert [(job["loaded"], job["compiled"]) for job in cold] == [(0, 1), (0, 1), (0, 3)]
    assert [(job["loaded"], job["compiled"]) for job in warm] == [(1, 0), (1, 0), (3, 0)]
    assert all(map(same, cold, warm))
    # A resume meets the shapes in another order than the run that compiled them.
    keeping = {**buckets, "plugins": [*buckets["plugins"], "mindloom_checkpoint:Checkpoint"]}
    parts = {**keeping, "save_path": str(tmp_path / "parts")}
    whole, first, second = results(
        start({**keeping, "save_path": str(tmp_path / "whole")}, {**parts, "stop_at": 3}, {**parts, "resume": "latest"})
    )
    assert (whole["loaded"], whole["compiled"]) == (0, 3)  # another plugin is there
    assert (first["compiled"], second["compiled"]) == (0, 0)
    assert first["losses"] + second["losses"] == whole["losses"]
    assert second["weights"] == whole["weights"]


SCALED = '''
"""A plugin that scales gradients."""
import mindspore as ms
from mindloom import Plugin, hookimpl
from mindspore import nn

FACTOR = {factor}


class Scale(nn.Cell):
    def construct(self, gradients):
        scaled = ()
        for gradient in gradients:
            scaled = (*scaled, gradient * FACTOR)
        return scaled


class Scaled(Plugin):
    """Scales them."""

    @hookimpl
    def add_grad_ops(self, run):
        return [Scale()]
'''


def test_changed_code_of_a_plugin_is_not_taken_for_the_old_one(start: Start, tmp_path: Path) -> None:
    job = {"plugins": ["scaled:Scaled"], "optim": {"max_grad_norm": 0}}
    (tmp_path / "scaled.py").write_text(SCALED.format(factor=1.0))
    (one,) = results(start(job))
    (tmp_path / "scaled.py").write_text(SCALED.format(factor=-1.0))
    (other,) = results(start(job))
    assert other["compiled"] == 1
    assert not same(one, other)
    assert any("because of other code" in line for line in other["said"])


def once(tmp_path: Path, **job: Any) -> Any:
    return train(folder=str(tmp_path), cache=str(tmp_path / "cache"), **job)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"optim": {"lr": 0.02}}, "settings"),
        ({"optim": {"max_grad_norm": 0.5}}, "settings"),
        ({"optim": {"betas": [0.8, 0.999]}}, "settings"),
        ({"per_batch_size": 3}, "shapes"),
        ({"plugins": ["mindloom_ema:Ema"]}, ""),
    ],
    ids=["rate", "clipping", "betas", "batch", "plugins"],
)
def test_what_changes_a_graph_gets_a_graph_of_its_own(tmp_path: Path, change: Job, told: str) -> None:
    once(tmp_path, steps=1)
    changed = once(tmp_path, steps=1, max_steps=1, **change)
    assert (changed["loaded"], changed["compiled"]) == (0, 1)
    assert told in "".join(changed["said"])


def test_what_only_the_host_sees_does_not_cost_a_compilation(tmp_path: Path) -> None:
    once(tmp_path)
    again = once(
        tmp_path, save_path=str(tmp_path / "elsewhere"), log_interval=2, data={"path": str(tmp_path), "workers": 1}
    )
    assert again["loaded"] == 1


def test_two_processes_load_together_or_compile_together(tmp_path: Path) -> None:
    """One alone would wait, in the first reduction, for the other to compile, and give up after a while."""
    job = {"folder": str(tmp_path), "cache": str(tmp_path / "cache"), "plugins": ["mindloom_ddp:Ddp"], **DEEP}
    (tmp_path / "jobs.json").write_text(json.dumps([job]))

    def both() -> list[Any]:
        with msrun(tmp_path, str(DRIVER), str(tmp_path / "jobs.json")) as launched:
            assert launched.wait(300) == 0, launched.output(0)[-2000:] + launched.output(1)[-2000:]
        return [json.loads((tmp_path / f"results-{rank}.json").read_text())[0] for rank in (0, 1)]

    cold, warm = both(), both()
    assert [run["compiled"] for run in cold] == [1, 1]
    assert [run["loaded"] for run in warm] == [1, 1]
    assert all(map(same, cold, warm))
    for entry in (tmp_path / "cache").iterdir():
        if json.loads((entry / "entry.json").read_text())["parts"]["processes"] == "1 of 2":
            shutil.rmtree(entry)
    third = both()
    assert [run["compiled"] for run in third] == [1, 1]
    assert all(map(same, cold, third))
