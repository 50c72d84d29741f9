"""Checkpoints written behind the training: the same files, told of in time, and safe whatever ends the run."""

from __future__ import annotations

import errno
import json
import re
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, TrainingError, hookimpl
from mindloom.checkpoint import Snapshot
from mindloom.testing import Fitted, Shelf, fit
from mindloom_checkpoint import Checkpoint
from mindloom_checkpoint.store import Store

Run = Callable[..., Fitted]


def hashes(path: Path) -> dict[str, Any]:
    """What ``state.json`` of every checkpoint of a run says about its arrays' files."""
    files = {folder.name: json.loads((folder / "state.json").read_text())["files"] for folder in path.glob("*/step-*")}
    return {f"{step}/{name}": about for step, all_ in files.items() for name, about in all_.items() if "safe" in name}


def steps(path: Path) -> list[int]:
    return sorted(int(folder.name[-8:]) for folder in path.glob("checkpoints/step-*"))


class Gate(Plugin):
    """Opens for the writing thread when the training reaches a step, and notes what happens on the main thread."""

    opens = 6

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.gate = threading.Event()
        self.told: list[tuple[int, int, str]] = []
        self.written_in: list[str] = []

    @hookimpl(wrapper=True)
    def make_checkpointer(self) -> Generator[None, Any, Any]:
        """Make its saving wait."""
        store = yield
        save = store.save

        def slowly(snapshot: Snapshot, folder: Path) -> Path:
            self.written_in.append(threading.current_thread().name)
            if threading.current_thread() is not threading.main_thread():
                assert self.gate.wait(60)
            path: Path = save(snapshot, folder)
            return path

        store.save = slowly
        return store

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Open."""
        if run.step >= self.opens:
            self.gate.set()

    @hookimpl
    def on_checkpoint(self, run: Any, path: Path) -> None:
        """Note when, of which step, and where."""
        assert path.is_dir()
        self.told.append((run.step, run.saved_step, threading.current_thread().name))


class Hurried(Gate):
    """Opens a moment after the second save is due: the loop waits for the first one then."""

    opens = 10**9

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Open behind the back of the loop."""
        if run.step == 6:
            threading.Timer(0.3, self.gate.set).start()


def gate_of(fitted: Fitted, name: str = "gate") -> Gate:
    found = fitted.plugins[name]
    assert isinstance(found, Gate)
    return found


def test_what_a_slow_writer_saves_is_the_state_at_its_step_bit_for_bit(run_toy: Run) -> None:
    more: dict[str, Any] = {"gradient_accumulation_steps": 2, "optim": {"lr": 0.1, "max_grad_norm": 0.5}}
    settings = {"steps": 8, "toy": {"hidden": 2, "width": 16}, **more}
    one = run_toy("one", every=3, plugins={"gate": Gate}, **settings)
    other = fit(other_folder(one), {"checkpoint": Checkpoint}, checkpoint={"every": 3, "keep": 0, "background": False},
                **settings)  # fmt: skip
    assert steps(one.path) == steps(other.path) == [3, 6, 8]
    assert hashes(one.path) == hashes(other.path)
    assert one.losses == other.losses
    gate = gate_of(one)
    # The third save is that of the end, which nothing follows: the loop writes it itself.
    assert gate.written_in == ["saving", "saving", "MainThread"]
    assert [saved for _, saved, _ in gate.told] == [3, 6, 8]
    assert gate.told[0][0] == 6  # trained on for three steps while the writer held the snapshot
    assert {thread for *_, thread in gate.told} == {"MainThread"}


def other_folder(fitted: Fitted) -> Path:
    folder = fitted.path.parent.parent / "other"
    folder.mkdir()
    return folder


def test_a_second_save_waits_for_the_first_and_says_how_long(run_toy: Run) -> None:
    fitted = run_toy(steps=7, every=3, plugins={"hurried": Hurried})
    gate = gate_of(fitted, "hurried")
    assert [told[:2] for told in gate.told[:1]] == [(6, 3)]
    assert [saved for _, saved, _ in gate.told] == [3, 6, 7]
    waited = re.search(
        r"step 6: waited (\d\.\d) s for the checkpoint of step 3\n", (fitted.path / "run.log").read_text()
    )
    assert waited is not None
    assert 0.1 <= float(waited[1]) < 5


def test_a_run_that_goes_on_from_what_was_written_behind_equals_one_that_never_stopped(run_toy: Run) -> None:
    whole = run_toy("whole", steps=9, every=2)
    run_toy("parts", steps=9, every=2, stop_at=5)
    rest = run_toy("parts", steps=9, every=2, resume="4")
    assert rest.losses == whole.losses[4:]
    whole_hashes, parts = hashes(whole.path), hashes(rest.path)
    assert {name: parts[name] for name in whole_hashes} == whole_hashes


class Full(Plugin):
    """A disk that is full when the checkpoint of the third step is written."""

    failed = threading.Event()

    @hookimpl(wrapper=True)
    def make_checkpointer(self) -> Generator[None, Any, Any]:
        """Break it."""
        store = yield
        fill = store._fill

        def full(folder: Path, snapshot: Snapshot, saved_at: float) -> None:
            if snapshot.meta["step"] == 3:
                self.failed.set()
                raise OSError(errno.ENOSPC, "No space left on device")
            fill(folder, snapshot, saved_at)

        store._fill = full
        return store


class Patient(Plugin):
    """Lets the writing thread fail within the fourth step."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Wait."""
        if run.step == 4:
            assert Full.failed.wait(60)
            for thread in threading.enumerate():
                if thread.name == "saving":
                    thread.join()


def test_a_full_disk_ends_the_run_at_the_next_dispatch_with_its_one_line(run_toy: Run, tmp_path: Path) -> None:
    # The next save would be due at step 6: the error does not wait for it.
    with pytest.raises(TrainingError, match=r"the checkpoint of step 3 cannot be written .*No space left") as caught:
        run_toy("full", steps=9, every=3, plugins={"full": Full, "patient": Patient})
    assert "\n" not in str(caught.value).partition("\ntraceback:")[0]
    assert steps(tmp_path / "full" / "run") == []
    log = (tmp_path / "full" / "run" / "run.log").read_text()
    assert "saved" not in log


class Poison(Plugin):
    """Ruins a weight before step 3 is saved; no loss is read before that is found."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Change it."""
        import mindspore as ms
        import numpy as np

        bias = run.task.model.bias
        if run.step == 3:
            bias.set_data(ms.Tensor(np.full(bias.shape, np.nan, np.float32)))


def test_nan_is_found_behind_and_the_checkpoint_before_is_kept(run_toy: Run, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^not saved: bias holds NaN or infinity at step 3; earlier .* are kept"):
        run_toy(steps=60_000, every=1, keep=1, log_interval=60_000, plugins={"poison": Poison})
    assert steps(tmp_path / "run") == [2]


class Breaks(Plugin):
    """Fails in step 4, while the checkpoint of step 3 is being written."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Fail."""
        if run.step == 4:
            gate = run.plugins.plugins["gate"]
            threading.Timer(0.2, gate.gate.set).start()
            raise TrainingError("something else broke")


def test_a_failing_run_waits_for_the_checkpoint_under_way_and_tells_of_it(run_toy: Run, tmp_path: Path) -> None:
    class Ear(Plugin):
        heard: list[str] = []  # noqa: RUF012

        @hookimpl
        def on_checkpoint(self, run: Any) -> None:
            self.heard.append(f"saved {run.saved_step}")

        @hookimpl
        def on_exception(self, error: BaseException) -> None:
            self.heard.append(str(error))

    with pytest.raises(TrainingError, match="something else broke"):
        run_toy("broken", steps=9, every=3, plugins={"gate": Gate, "breaks": Breaks, "ear": Ear})
    assert steps(tmp_path / "broken" / "run") == [3]
    assert Ear.heard == ["saved 3", "something else broke"]


def test_a_checkpointer_that_does_not_ask_for_it_saves_in_the_loop(tmp_path: Path) -> None:
    threads: list[str] = []

    class Plain(Shelf):
        def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
            threads.append(threading.current_thread().name)
            return super().save(snapshot, run_folder)

        @hookimpl
        def on_step_end(self, run: Any) -> None:
            run.request_checkpoint(by=self.name)

    fit(tmp_path, [Plain], steps=3)
    assert threads == ["MainThread"] * 3
    assert not Store("", 0).background
