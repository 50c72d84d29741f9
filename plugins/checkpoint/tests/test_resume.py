"""Runs that stop and go on: nothing may tell them from runs that never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.testing import Fitted

Run = Callable[..., Fitted]
Start = Callable[..., "subprocess.Popen[str]"]
SCHEDULE = {"lr": 0.01, "schedule": "cosine", "warmup_steps": 4, "max_grad_norm": 0.5}


def steps_saved(path: Path) -> list[int]:
    return sorted(int(folder.name.partition("-")[2]) for folder in (path / "checkpoints").glob("step-*"))


def hashes(path: Path, step: int) -> dict[str, Any]:
    files = json.loads((path / "checkpoints" / f"step-{step:08d}" / "state.json").read_text())["files"]
    return {name: files[name] for name in ("model.safetensors", "optimizer.safetensors")}


def test_a_stopped_and_resumed_run_equals_one_that_was_not(run_toy: Run) -> None:
    settings: dict[str, Any] = {"steps": 12, "gradient_accumulation_steps": 2, "optim": SCHEDULE}
    whole = run_toy("whole", **settings)
    first = run_toy("parts", **settings, stop_at=6)
    second = run_toy("parts", **settings, resume="latest")
    assert len(first.losses) == len(second.losses) == 6
    assert first.losses + second.losses == whole.losses
    assert hashes(second.path, 12) == hashes(whole.path, 12)
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(second.weights[name], weight, strict=True)
    assert steps_saved(second.path) == [6, 12]


def test_checkpoints_are_made_when_due_and_at_the_end_and_rotated(run_toy: Run) -> None:
    fitted = run_toy(steps=11, every=3, keep=2)
    assert steps_saved(fitted.path) == [9, 11]


def test_a_run_killed_and_interrupted_again_and_again_ends_with_equal_weights(
    run_toy: Run, start_toy: Start, tmp_path: Path
) -> None:
    luck, resume = random.Random(2), ""
    # MindSpore turns a Ctrl-C during a dispatch into SIGTERM.
    ends = {signal.SIGKILL: (-9,), signal.SIGTERM: (143,), signal.SIGINT: (130, 143)}
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        process = start_toy(steps=100_000, plugins={"checkpoint": {"every": 1, "keep": 2}}, resume=resume)
        time.sleep(luck.uniform(0, 0.3))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode in ends[number], errors
        resume = "latest"
    last = steps_saved(tmp_path / "run")[-1] + 2
    survivor = run_toy(every=1, keep=2, steps=100_000, stop_at=last, resume="latest")
    whole = run_toy("whole", steps=100_000, stop_at=last)
    assert hashes(survivor.path, last) == hashes(whole.path, last)
    assert len(list((survivor.path / "checkpoints").iterdir())) == 2


def test_an_orderly_end_saves_the_last_step(start_toy: Start, tmp_path: Path) -> None:
    process = start_toy(steps=100_000, stop_at=60_000, plugins={"checkpoint": {"every": 50, "keep": 1}})
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143, errors
    log = (tmp_path / "run" / "run.log").read_text()
    step = steps_saved(tmp_path / "run")[-1]
    assert step > 50
    assert f"SIGTERM received at step {step} of 100000" in log


def test_a_damaged_checkpoint_stops_a_resume_before_anything_is_built(run_toy: Run) -> None:
    path = run_toy(steps=2, every=1).path / "checkpoints"
    (path / "step-00000002" / "optimizer.safetensors").unlink()
    with pytest.raises(UserError, match=r"optimizer.safetensors is missing; use the one before: .*step-00000001"):
        run_toy(steps=4, resume=str(path / "step-00000002"))
    assert run_toy(steps=4, resume="latest").exit_code == 0


class Poison(Plugin):
    """Ruins a weight after step 3."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        if run.step == 3:
            import mindspore as ms

            bias = run.task.model.bias
            bias.set_data(ms.Tensor(np.full(bias.shape, np.nan, np.float32)))


def test_weights_with_nan_are_never_saved(run_toy: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"bias holds NaN or infinity at step 3"):
        run_toy(steps=6, every=1, keep=1, log_interval=9, plugins={"poison": Poison})
    assert steps_saved(tmp_path / "run") == [2]
    assert run_toy(steps=6, resume="latest").exit_code == 0


class Half(Plugin):
    """Stores the bias in float16."""

    @hookimpl
    def make_precision(self) -> Any:
        from mindloom.precision import Precision

        return Precision(param_dtype="float16", keep_float32=("weight",))


def test_a_checkpoint_of_an_altered_model_needs_what_altered_it(run_toy: Run) -> None:
    path = run_toy(steps=2, plugins={"half": Half}).path
    state = json.loads((path / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert state["altered_by"] == ["half"]
    with pytest.raises(UserError, match=r"made with half, which altered the model: resume with --plugins half"):
        run_toy(steps=4, resume="latest")
    resumed = run_toy(steps=4, plugins={"half": Half}, resume="latest")
    assert resumed.weights["bias"].dtype == np.float16


def test_a_run_without_checkpoints_cannot_resume_in_silence(run_toy: Run) -> None:
    with pytest.raises(UserError, match=r"no folder to resume from|no complete checkpoint"):
        run_toy(resume="latest")


def test_an_output_folder_that_cannot_be_written_is_refused_before_training(run_toy: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match=r"checkpoints cannot be written to .*: choose another --save_path"):
        run_toy(steps=2)


def test_negative_settings_are_refused(run_toy: Run) -> None:
    with pytest.raises(UserError, match=r"plugins.checkpoint.every must be 0 or more, not -1"):
        run_toy(every=-1)


def test_the_flags_of_the_recipe_are_declared() -> None:
    from mindloom.discovery import discover

    flags = dict(discover()["checkpoint"].flags)
    assert flags == {"save_ckpt_interval": "checkpoint:every", "max_num_ckpt": "checkpoint:keep"}


def test_a_run_may_go_on_from_a_step_that_is_named(run_toy: Run) -> None:
    whole = run_toy(steps=6, every=2)
    again = run_toy(steps=6, every=2, resume="2")
    assert again.losses == whole.losses[2:]
    with pytest.raises(UserError, match=r"no complete checkpoint of step 3 in .*: there are 2, 4, 6"):
        run_toy(steps=8, resume="3")
