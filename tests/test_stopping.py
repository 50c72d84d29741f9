"""Ends before the last step: planned, wished for by a plugin, by a signal; each in order, and saying how to go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.run import Run
from mindloom.testing import Fitted, Shelf, fit


class Listener(Plugin):
    """Writes down how the run goes."""

    def __init__(self, cfg: object = None) -> None:
        super().__init__(cfg)
        self.calls: list[str] = []

    @hookimpl
    def on_train_start(self) -> None:
        self.calls.append("on_train_start")

    @hookimpl
    def on_step_end(self) -> None:
        self.calls.append("on_step_end")

    @hookimpl
    def on_log(self) -> None:
        self.calls.append("on_log")

    @hookimpl
    def on_checkpoint(self) -> None:
        self.calls.append("on_checkpoint")

    @hookimpl
    def on_train_end(self) -> None:
        self.calls.append("on_train_end")

    def close(self) -> None:
        self.calls.append("close")


def heard(fitted: Fitted) -> list[str]:
    listener = fitted.plugins["listener"]
    assert isinstance(listener, Listener)
    return listener.calls


def test_stop_at_ends_early_with_everything_planned_for_max_steps(tmp_path: Path) -> None:
    fitted = fit(tmp_path, [Shelf], steps=10, stop_at=4, optim={"lr": 1.0, "schedule": "linear"}, log_interval=3)
    assert [record["lr"] for record in fitted.records] == pytest.approx([0.8, 0.7])
    assert [path.name for path in Shelf.kept if path.parent == fitted.path] == ["step-00000004"]


def test_stop_at_beyond_the_plan_and_resuming_a_finished_run(tmp_path: Path) -> None:
    assert len(fit(tmp_path, [Shelf], steps=2, stop_at=50).losses) == 2
    with pytest.raises(UserError, match="already has 2 of 2 steps: raise max_steps or stop_at"):
        fit(tmp_path, [Shelf], steps=2, resume="latest")


def test_a_plugin_may_stop_the_run_which_ends_in_order(tmp_path: Path) -> None:
    class Stopper(Plugin):
        @hookimpl
        def on_step_end(self, run: Run) -> None:
            if run.step == 2:
                run.stop("seen enough")
                run.stop("a second reason")

    fitted = fit(tmp_path, {"shelf": Shelf, "stopper": Stopper, "listener": Listener}, steps=9, log_interval=9)
    assert fitted.exit_code == 0
    assert heard(fitted)[-4:] == ["on_log", "on_checkpoint", "on_train_end", "close"]
    assert "seen enough at step 2 of 9" in (fitted.path / "run.log").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_the_run_after_the_dispatch_with_a_checkpoint(tmp_path: Path, number: int, code: int) -> None:
    class Killer(Plugin):
        @hookimpl
        def on_step_start(self, run: Run) -> None:
            if run.step == 1:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    fitted = fit(tmp_path, [Shelf, Killer], steps=9)
    assert fitted.exit_code == code
    assert [path.name for path in Shelf.kept if path.parent == fitted.path] == ["step-00000002"]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("how", ["signal", "stop"])
def test_a_wish_to_stop_during_on_train_start_is_heard_before_the_first_dispatch(tmp_path: Path, how: str) -> None:
    class Early(Plugin):
        @hookimpl
        def on_train_start(self, run: Run) -> None:
            os.kill(os.getpid(), signal.SIGTERM) if how == "signal" else run.stop("changed my mind")

    fitted = fit(tmp_path, {"shelf": Shelf, "early": Early, "listener": Listener}, steps=9)
    assert fitted.exit_code == (143 if how == "signal" else 0)
    assert heard(fitted) == ["on_train_start", "on_checkpoint", "on_train_end", "close"]
    assert len(fit(tmp_path, [Shelf], steps=3, resume="latest").losses) == 3


def test_the_last_line_says_how_to_go_on_if_the_run_ended_early(tmp_path: Path) -> None:
    log = tmp_path / "run" / "run.log"
    fit(tmp_path, [Shelf], steps=3, stop_at=1)
    assert log.read_text().endswith("; go on with --resume latest\n")
    fit(tmp_path, [Shelf], steps=3, stop_at=2, resume=str(tmp_path / "run" / "step-00000001"), save_path="elsewhere")
    assert log.read_text().endswith(f"; go on with --resume {tmp_path / 'run'}\n")
    fit(tmp_path, [Shelf], steps=3, resume="latest")
    assert log.read_text().endswith(f"s: {tmp_path / 'run'}\n")


def test_a_second_ctrl_c_ends_the_run_at_once(tmp_path: Path) -> None:
    class Impatient(Plugin):
        @hookimpl
        def on_step_start(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, [Impatient])


class Spoilt(Plugin):
    """Data that turn out to be unusable after the second step."""

    @hookimpl(wrapper=True)
    def make_stepper(self):  # type: ignore[no-untyped-def]
        stepper = yield
        return self.spoil(stepper)

    def spoil(self, stepper):  # type: ignore[no-untyped-def]
        yield next(stepper)
        yield next(stepper)
        raise UserError("too many samples are broken")


def test_steps_done_before_the_data_turned_out_to_be_unusable_are_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too many"):
        fit(tmp_path, {"shelf": Shelf, "spoilt": Spoilt}, steps=6)
    kept = Shelf.kept[tmp_path / "run" / "step-00000002"]
    assert kept.meta["step"] == 2
