"""The display in whole runs of the toy task."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.run import Run
from mindloom.step import StepResult
from mindloom.testing import Shelf, fit
from mindloom_console import Console, lines
from rich.console import Console as Terminal

LINE = re.compile(
    r"step +(\d+)/(\d+)  loss (\S+)  smoothed (\S+)  lr 1\.0e-02  grad \S+(  \S+ images/s)?(  eta \d+:\d\d:\d\d)?"
)


class Talk(Plugin):
    """Logs a message at each step, and fails at one if told to."""

    @hookimpl
    def on_step_end(self, run: Run) -> None:
        """Speak."""
        run.log.info("message %d from [somebody] at /a/path", run.step)
        if run.step == 3 and run.cfg.seed == 13:
            raise RuntimeError("boom")


class Slow(Plugin):
    """Takes a second before the first step is done."""

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Any:
        """Wait."""
        results = yield

        def late() -> Iterator[StepResult]:
            time.sleep(1)
            yield from results

        return late()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 80 columns receives."""
    written = io.StringIO()
    terminal = Terminal(file=written, force_terminal=True, width=80, legacy_windows=False)
    monkeypatch.setattr("mindloom_console.plugin.find_terminal", lambda: terminal)
    return written


def plain(written: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)


def test_elsewhere_than_on_a_terminal_each_record_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    fitted = fit(tmp_path, [Console], steps=6, log_interval=2)
    found = [match for match in map(LINE.fullmatch, caplog.messages) if match]
    assert [(match[1], match[2]) for match in found] == [("2", "6"), ("4", "6"), ("6", "6")]
    assert [float(match[3]) for match in found] == pytest.approx(fitted.losses, abs=5e-5)
    assert "eta" in found[1][0]
    assert "images/s" in found[1][0]
    assert "eta" not in found[2][0]
    notice = caplog.messages.index("compiling the first step; this may take a while")
    assert re.fullmatch(r"first step compiled in \d+\.\d s", caplog.messages[notice + 1])
    assert found[0][0] in (fitted.path / "run.log").read_text()


def test_while_the_first_step_compiles_there_are_signs_of_life(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    monkeypatch.setattr(lines, "HEARTBEAT", 0.2)
    fit(tmp_path, [Console, Slow], steps=2)
    beats = [place for place, text in enumerate(caplog.messages) if text.startswith("still compiling after 0:00:0")]
    assert len(beats) >= 3
    assert max(beats) < next(place for place, text in enumerate(caplog.messages) if text.startswith("first step"))
    assert not [thread for thread in threading.enumerate() if thread.name == "mindloom-console"]


def test_nothing_is_said_about_compiling_when_nothing_compiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    fit(tmp_path, [Console], steps=2, device={"mode": "pynative"})
    assert "compil" not in caplog.text


def test_the_smoothed_loss_and_the_counter_go_on_after_a_resume(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mindloom")

    def shown(name: str, **settings: Any) -> list[str]:
        (tmp_path / name).mkdir(exist_ok=True)
        caplog.clear()
        fit(tmp_path / name, [Console, Shelf], steps=6, **settings)
        return [match[4] for match in map(LINE.fullmatch, caplog.messages) if match]

    assert shown("parts", stop_at=3) + shown("parts", resume="latest") == shown("whole")


def test_the_bar_shows_compiling_then_counts_and_keeps_its_last_state(tmp_path: Path, screen: io.StringIO) -> None:
    fit(tmp_path, [Console, Slow], steps=12, log_interval=4)
    text = plain(screen.getvalue())
    assert "compiling the first step  0:00:01" in text
    rows = [row.split("\r")[-1].strip() for row in text.split("\n")]
    assert re.fullmatch(r"step 12/12 ━+", rows[-3])
    assert re.fullmatch(r"loss \S+ \(smoothed\)  lr 1\.0e-02  grad \S+  \S+ images/s", rows[-2])
    assert all(len(row) <= 80 for row in rows)


def test_the_bar_starts_at_the_step_resumed_from(tmp_path: Path, screen: io.StringIO) -> None:
    fit(tmp_path, [Shelf], steps=6, stop_at=3)
    fit(tmp_path, [Console, Shelf, Slow], steps=6, resume="latest")
    counts = [int(step) for step in re.findall(r"step (\d)/6", plain(screen.getvalue()))]
    assert counts[0] >= 3
    assert counts[-1] == 6


@pytest.mark.parametrize("seed", [1, 13], ids=["ends well", "fails"])
def test_on_a_real_terminal_messages_stay_whole_and_everything_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    ours, theirs = pty.openpty()
    received = bytearray()

    def receive() -> None:
        while True:
            try:
                received.extend(os.read(ours, 4096))
            except OSError:
                return

    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    root = logging.getLogger()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "80")
        handler = logging.StreamHandler(stream)
        root.addHandler(handler)
        try:
            if seed == 13:
                with pytest.raises(TrainingError, match="boom"):
                    fit(tmp_path, [Console, Talk], steps=5, seed=seed)
            else:
                fit(tmp_path, [Console, Talk], steps=5, seed=seed)
            assert handler in root.handlers
            assert sys.stderr is stream
        finally:
            root.removeHandler(handler)
    reader.join(5)
    os.close(ours)
    text = received.decode()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") >= 1
    rows = [row.split("\r")[-1].strip() for row in plain(text).replace("\r\n", "\n").split("\n")]
    for step in range(1, 4 if seed == 13 else 6):
        assert f"message {step} from [somebody] at /a/path" in rows
    assert not any(LINE.search(row) for row in rows)
    assert LINE.search((tmp_path / "run" / "run.log").read_text())


def test_a_step_is_shown_without_reading_a_tensor() -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("a tensor was read")

    run = SimpleNamespace(
        world=SimpleNamespace(is_main=True), device=SimpleNamespace(graph=True), log=logging.getLogger("mindloom"),
        step=0, last_step=300,
    )  # fmt: skip
    console, tensor = Console(), cast(Any, Untouchable())
    console.on_step_start(cast(Run, run))
    for run.step in (100, 200):
        console.on_step_end(cast(Run, run), StepResult(100, 1e-4, {"loss": tensor, "grad_norm": tensor}))
    assert [step for step, _ in console.pace.marks] == [100, 200]
    console.close()


def test_other_processes_show_nothing(caplog: pytest.LogCaptureFixture) -> None:
    console = Console()
    console.on_step_start(cast(Run, SimpleNamespace(world=SimpleNamespace(is_main=False))))
    assert console.display is None
    assert not caplog.messages


def test_losses_do_not_depend_on_it(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert fit(tmp_path, [Console], steps=3).losses == fit(tmp_path / "other", steps=3).losses


def test_a_horizon_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plugins\.console\.smooth must be at least 1, not 0"):
        fit(tmp_path, [Console], plugins={"console": {"smooth": 0}})
