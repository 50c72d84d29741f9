"""Real processes under msrun: they train what one process trains, keep equal weights, and none is left waiting."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from mindloom import UserError
from mindloom.testing import Fitted, fit
from mindloom_ddp import LAUNCHERS, Ddp
from mindloom_ddp.testing import Launched, msrun

WORKER = Path(__file__).with_name("worker.py")
SCHEDULE: dict[str, Any] = {"lr": 0.05, "schedule": "cosine", "warmup_steps": 2, "max_grad_norm": 0.5}
WHOLE: dict[str, Any] = {"steps": 8, "per_batch_size": 4, "optim": SCHEDULE}
SHARE: dict[str, Any] = {**WHOLE, "per_batch_size": 2}

sys.path.insert(0, str(WORKER.parent))
from worker import Disk  # noqa: E402  (a script beside this file)


def start(folder: Path, *jobs: dict[str, Any]) -> Any:
    """Start two processes that do these jobs, one after the other."""
    folder.mkdir(exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return msrun(folder, str(WORKER), str(folder))


def job(name: str, *plugins: str, folder: str = "", fails: bool = False, **settings: Any) -> dict[str, Any]:
    """What ``worker.py`` reads."""
    changed = {**SHARE, **settings}
    return {"name": name, "folder": folder or name, "plugins": plugins, "settings": changed, "fails": fails}


def result(folder: Path, name: str) -> list[dict[str, np.ndarray]]:
    """Losses and weights of a job, of every process."""
    return [dict(np.load(folder / f"{name}.{rank}.npz")) for rank in range(2)]


def gone(pid: int) -> bool:
    """Whether a process ended; a launcher that was stopped has not looked yet."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def alone(folder: Path, **settings: Any) -> Fitted:
    """One process with the batch of two."""
    folder.mkdir(exist_ok=True)
    return fit(folder, {"disk": Disk}, **{**WHOLE, **settings})


def close(one: dict[str, np.ndarray], other: Fitted, last: int = 8) -> None:
    np.testing.assert_allclose(one["losses"], other.losses[-last:], rtol=1e-5)
    for name, weight in other.weights.items():
        np.testing.assert_allclose(one[name], weight, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Eight steps in one process; another ran four and left a checkpoint."""
    folder = tmp_path_factory.mktemp("alone")
    alone(folder / "half", stop_at=4)
    return alone(folder)


@pytest.fixture(scope="module")
def together(whole: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One start of two processes, for many tests. The last job ends them."""
    folder = tmp_path_factory.mktemp("together")
    jobs = [
        job("plain", "disk"),
        job("summed", per_batch_size=1, gradient_accumulation_steps=2),
        job("differ", "differ"),
        job("resumed", resume=str(whole.path.parent / "half" / "run" / "step-00000004.npz")),
        job("half", "disk", stop_at=4),
        job("spoil", "disk", "spoil", fails=True),
        job("unverified", "disk", "spoil", plugins={"ddp": {"verify": False}}),
        job("behind", "behind", log_interval=3),
        # Nobody reads a loss, or compares, before the thread has found the NaN.
        job("poison", "thread", "poison", fails=True, steps=100_000, log_interval=100_000, ddp={"verify": False}),
    ]
    jobs[3]["plugins"] = ["disk"]
    with start(folder, *jobs) as launched:
        launched.until((folder / "poison.0.error").exists)
        pid = int((folder / "pid.1").read_text())
        deadline = time.monotonic() + 60
        while not gone(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert gone(pid)
        (folder / "output").write_text(launched.output(1))
    return folder


def test_two_processes_train_what_one_trains_with_twice_the_batch(together: Path, whole: Fitted) -> None:
    for rank in range(2):
        close(result(together, "plain")[rank], whole)


def test_accumulation_changes_nothing(together: Path, whole: Fitted) -> None:
    close(result(together, "summed")[0], whole)


@pytest.mark.parametrize("name", ["plain", "summed", "differ", "resumed"])
def test_all_processes_end_with_equal_bits(name: str, together: Path) -> None:
    first, second = result(together, name)
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value)


def test_weights_that_differ_at_the_start_are_those_of_the_main_process_after_it(together: Path) -> None:
    np.testing.assert_array_equal(result(together, "differ")[1]["losses"], result(together, "plain")[1]["losses"])


def test_a_checkpoint_of_one_process_resumes_on_two(together: Path, whole: Fitted) -> None:
    close(result(together, "resumed")[1], whole, last=4)


def test_a_checkpoint_of_two_processes_resumes_on_one(together: Path, whole: Fitted) -> None:
    rest = alone(together / "half", resume="latest")
    assert len(rest.losses) == 4
    close(result(together, "plain")[0], whole)
    np.testing.assert_allclose(rest.losses, whole.losses[4:], rtol=1e-5)


def test_weights_that_drift_apart_end_the_run_on_every_process(together: Path) -> None:
    for rank in range(2):
        message = (together / f"spoil.{rank}.error").read_text()
        assert re.search(r"parameters of process 1 differ from those of process 0 at step-00000004", message)
    first, second = result(together, "unverified")
    assert (first["bias"] != second["bias"]).any()


def test_all_processes_hear_at_one_step_of_what_was_written_behind(together: Path, whole: Fitted) -> None:
    # Durable since step 4, told at the log of step 6; the end's is written in the loop.
    expected = "step 6: step-00000002.npz of step 2\nstep 8: step-00000008.npz of step 8\n"
    assert [(together / "behind" / "run" / f"told.{rank}").read_text() for rank in range(2)] == [expected] * 2
    close(dict(result(together, "behind")[0], losses=result(together, "plain")[0]["losses"]), whole)


def test_nan_on_the_main_process_ends_all_and_is_not_saved(together: Path) -> None:
    assert "bias holds NaN or infinity at step 4" in (together / "poison.0.error").read_text()
    assert "process 0 failed (see its log), so this one (1) ends too" in (together / "output").read_text()
    assert [path.name for path in (together / "poison" / "run").glob("*.npz")] == ["step-00000002.npz"]


def exit_status(pid: int) -> int:
    """Of a process that ended while nobody waited for it (proc_pid_stat(5), field 52)."""
    return os.waitstatus_to_exitcode(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[-1]))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads exit codes from /proc")
def test_a_killed_process_takes_the_others_along_and_the_run_goes_on(tmp_path: Path) -> None:
    saved = tmp_path / "long" / "run"
    long: dict[str, Any] = {"folder": "long", "steps": 1_000_000, "log_interval": 10}
    with start(tmp_path, job("killed", "disk", **long)) as launched:
        launched.until(lambda: len(list(saved.glob("*.npz"))) > 3)
        first, second = (int((tmp_path / f"pid.{rank}").read_text()) for rank in range(2))
        launched.process.send_signal(signal.SIGSTOP)  # msrun would kill the other one itself
        began = time.monotonic()
        os.kill(second, signal.SIGKILL)
        while not gone(first) and time.monotonic() < began + 60:
            time.sleep(0.05)
        assert gone(first)
        assert exit_status(first) == 1
        assert "process 1 is gone, so this one (0) ends too" in launched.output(0)
    after = max(int(path.stem[-8:]) for path in saved.glob("*.npz"))
    with start(tmp_path, job("resumed", "disk", **long, resume="latest")) as launched:
        goes_on(launched, saved, after)
        for rank in range(2):
            os.kill(int((tmp_path / f"pid.{rank}").read_text()), signal.SIGTERM)
        launched.until(lambda: all((tmp_path / f"resumed.{rank}.npz").exists() for rank in range(2)), 60)
    ends = result(tmp_path, "resumed")
    assert [int(end["code"]) for end in ends] == [143, 143]
    np.testing.assert_array_equal(ends[0]["weight"], ends[1]["weight"])
    log = (saved / "run.log").read_text()
    last = max(int(path.stem[-8:]) for path in saved.glob("*.npz"))
    assert f"SIGTERM received at step {last} of 1000000" in log


def goes_on(launched: Launched, saved: Path, after: int) -> None:
    """Wait until it saved a later step."""
    launched.until(lambda: max(int(path.stem[-8:]) for path in saved.glob("*.npz")) > after + 10)


def test_without_a_launcher_one_line_says_how_to_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"ddp needs a launcher .*msrun --worker_num=2 .*python train.py") as caught:
        fit(tmp_path, [Ddp])
    assert "\n" not in str(caught.value)


def test_a_negative_fusion_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    with pytest.raises(UserError, match="ddp fusion must be at least 0, not -1"):
        fit(tmp_path, [Ddp], plugins={"ddp": {"fusion": -1}})
