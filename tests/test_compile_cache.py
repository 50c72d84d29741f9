"""Graphs that outlive their process: the next one trains the same, sooner, and whatever changes a graph is noticed."""

from __future__ import annotations

import importlib
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


def test_a_second_process_trains_the_same_bits_and_computes_less(start: Start, tmp_path: Path) -> None:
    """Loops, averages, half precision, own kernels (which write into their inputs), and a loss called by itself."""
    (tmp_path / "held_out").mkdir()
    (tmp_path / "trained_on").mkdir()
    validate = {"data_path": str(tmp_path / "held_out"), "samples": 2}
    jobs: list[Job] = [
        {"task": "attentive_task:Attentive", "plugins": ["mindloom_flash_attn:FlashAttn", "mindloom_native:Native"]},
        DEEP,
        {"plugins": EVERYTHING, "sink": {"size": 2}, "log_interval": 2, "gradient_accumulation_steps": 2},
        {
            "plugins": ["mindloom_validate:Validate"],
            "validate": validate,
            "data": {"path": str(tmp_path / "trained_on")},
        },
    ]
    cold = results(start(*jobs))
    warm = results(start(*reversed(jobs)))[::-1]
    assert [(job["loaded"], job["compiled"]) for job in cold] == [(0, 1), (0, 1), (0, 1), (0, 2)]
    assert [(job["loaded"], job["compiled"]) for job in warm] == [(1, 0), (1, 0), (1, 0), (2, 0)]
    assert all(map(same, cold, warm))
    assert warm[1]["cpu"] < 0.75 * cold[1]["cpu"]


def test_a_resumed_run_meets_its_shapes_in_another_order_and_loads_them_all(tmp_path: Path) -> None:
    draw(tmp_path / "data")
    job = {
        "task": "mindloom.testing:Pictures",
        "plugins": ["mindloom_csv:Csv", "mindloom_checkpoint:Checkpoint"],
        "data": {"path": str(tmp_path / "data"), "buckets": 3, "bucket_step": 8},
        "steps": 6,
    }
    parts = {**job, "save_path": str(tmp_path / "parts")}
    whole = once(tmp_path, **job)
    first, second = once(tmp_path, **parts, stop_at=3), once(tmp_path, **parts, resume="latest")
    assert (whole["loaded"], whole["compiled"]) == (0, 3)
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


def test_changed_code_of_a_plugin_is_not_taken_for_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(factor: float) -> Any:
        (tmp_path / "scaled.py").write_text(SCALED.format(factor=factor))
        sys.modules.pop("scaled", None)
        importlib.invalidate_caches()
        return once(tmp_path, steps=2, plugins=["scaled:Scaled"], optim={"max_grad_norm": 0})

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the two files are of one size and age
    one, other = run(1.0), run(2.0)
    assert other["compiled"] == 1
    assert not same(one, other)
    assert any("because of other" in line and "code" in line for line in other["said"])


def once(tmp_path: Path, **job: Any) -> Any:
    return train(folder=str(tmp_path), cache=str(tmp_path / "cache"), **job)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the graph of the toy task."""
    folder = tmp_path_factory.mktemp("plain")
    once(folder, steps=1)
    return folder / "cache"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 7}, "settings"),
        ({"optim": {"max_grad_norm": 0.5}}, "settings"),
        ({"optim": {"betas": [0.8, 0.999]}}, "settings"),
        ({"per_batch_size": 3}, "shapes"),
        ({"plugins": ["mindloom_ema:Ema"]}, ""),
    ],
    ids=["seed", "clipping", "betas", "batch", "plugins"],
)
def test_what_changes_a_graph_gets_a_graph_of_its_own(plain: Path, tmp_path: Path, change: Job, told: str) -> None:
    shutil.copytree(plain, tmp_path / "cache")
    changed = once(tmp_path, steps=1, max_steps=1, **change)
    assert (changed["loaded"], changed["compiled"]) == (0, 1)
    assert told in "".join(changed["said"])


def test_what_only_the_host_sees_does_not_cost_a_compilation(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "cache")
    rate = {"lr": 0.02, "warmup_steps": 2, "schedule": "linear"}
    again = once(tmp_path, steps=5, log_interval=2, data={"path": str(tmp_path), "workers": 1}, optim=rate)
    assert again["loaded"] == 1


def test_two_processes_load_together_or_compile_together(tmp_path: Path) -> None:
    """One alone would wait, in the first reduction, for the other to compile, and give up after a while."""
    cache = tmp_path / "cache"
    job = {"folder": str(tmp_path), "cache": str(cache), "plugins": ["mindloom_ddp:Ddp"], "steps": 2}
    again = [{**job, "save_path": str(tmp_path / name), "lose": lose} for name, lose in (("a", ""), ("b", "1 of 2"))]
    (tmp_path / "jobs.json").write_text(json.dumps([job, *again]))
    with msrun(tmp_path, str(DRIVER), str(tmp_path / "jobs.json")) as launched:
        assert launched.wait(300) == 0, launched.output(0)[-2000:] + launched.output(1)[-2000:]
    ranks = [json.loads((tmp_path / f"results-{rank}.json").read_text()) for rank in (0, 1)]
    for runs in ranks:
        assert [(run["loaded"], run["compiled"]) for run in runs] == [(0, 1), (1, 0), (0, 1)]
        assert all(same(runs[0], run) for run in runs)
