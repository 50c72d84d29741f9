"""All combinations of flash_attn, fp16, sink and ddp train SDXL, and none changes what another one computes.

The kernels of native meet each of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from mindloom_ddp.testing import msrun

pytestmark = [pytest.mark.together, pytest.mark.slow]
SCRIPT = Path(__file__).with_name("train_combinations.py")
FEATURES = ("flash_attn", "fp16", "sink")
COMBINATIONS = [chosen for count in range(4) for chosen in combinations(FEATURES, count)]
NATIVE = [("native",), ("native", "flash_attn"), ("native", "flash_attn", "sink")]
"""The kernels change no feature's meaning, so that they need not meet all of them in all combinations."""
EVERY = [(*combination, *ddp) for ddp in ((), ("ddp",)) for combination in COMBINATIONS]
EVERY += [*NATIVE, ("native", "fp16"), ("native", "ddp")]
Results = dict[str, dict[str, Any]]


def label(features: tuple[str, ...]) -> str:
    return "+".join(features) or "plain"


def write_jobs(folder: Path, *ddp: str) -> None:
    mine = [chosen for chosen in EVERY if ("ddp" in chosen) == bool(ddp)]
    jobs: dict[str, Any] = {label(chosen): {"features": [*chosen], "mode": "amp"} for chosen in mine}
    if not ddp:
        jobs["param"] = {"features": ["fp16"], "mode": "param"}
        jobs["reversed"] = {"features": [*reversed(FEATURES)], "mode": "amp"}
    (folder / "jobs.json").write_text(json.dumps(jobs))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Losses of all combinations: those without ddp trained by one process, the others by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    write_jobs(one)
    write_jobs(two, "ddp")
    with (one / "output").open("w") as output, msrun(two, str(SCRIPT), str(two), "2") as launched:
        command = [sys.executable, str(SCRIPT), str(one), "1"]  # meanwhile: starting the others takes a while
        done = subprocess.run(
            command, cwd=one, stdout=output, stderr=output, env={**os.environ, "GLOG_v": "3"}, timeout=500
        )
        code = launched.wait(500)
    assert done.returncode == 0, (one / "output").read_text()[-4000:]
    assert code == 0, launched.output(0)[-4000:]
    by_rank = [json.loads((two / f"results.{rank}.json").read_text()) for rank in range(2)]
    assert by_rank[0] == by_rank[1]
    return {**json.loads((one / "results.0.json").read_text()), **by_rank[0]}


@pytest.mark.parametrize("features", EVERY, ids=label)
def test_every_combination_trains(features: tuple[str, ...], results: Results) -> None:
    losses = results[label(features)]["losses"]
    assert losses[-1] < losses[0] < 2
    # float16 has three digits.
    rtol = 2e-3 if "fp16" in features else 1e-5
    assert losses == pytest.approx(results["plain"]["losses"], rel=rtol)


@pytest.mark.parametrize("features", [chosen for chosen in EVERY if "sink" in chosen], ids=label)
def test_a_sink_changes_no_bit(features: tuple[str, ...], results: Results) -> None:
    without = tuple(feature for feature in features if feature != "sink")
    assert results[label(features)] == results[label(without)]


def test_their_order_changes_no_bit(results: Results) -> None:
    assert results["reversed"] == results[label(FEATURES)]


def test_fp16_changes_something_in_both_modes_and_stays_near(results: Results) -> None:
    plain, amp, param = (results[name]["losses"] for name in ("plain", "fp16", "param"))
    assert plain != amp != param
    assert param == pytest.approx(plain, rel=2e-3)
