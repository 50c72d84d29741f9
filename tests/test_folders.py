"""The run folder: refused runs leave none, failures leave their traceback, and configs of all parts are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.folders import Folder, saved_config
from mindloom.run import Run
from mindloom.testing import Shelf, Toy, fit
from mindloom.world import World

Command = Callable[..., tuple[int, str]]
LOG = logging.getLogger("mindloom")


class Refusing(Plugin):
    """Refuses late, or fails, or first writes a file."""

    error: Exception = UserError("I cannot")
    writes = False

    @hookimpl
    def on_train_start(self, run: Run) -> None:
        if self.writes:
            (run.path / "mine.txt").write_text("hello")
        raise self.error


def test_a_refused_run_leaves_nothing_behind(tmp_path: Path) -> None:
    for settings in ({"data": {"path": str(tmp_path / "none")}}, {"plugins": {}}):
        with pytest.raises(UserError):
            fit(tmp_path, {"refusing": Refusing}, save_path=str(tmp_path / "runs" / "deep"), **settings)
        assert not (tmp_path / "runs").exists()


def test_a_refused_run_takes_away_only_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "other").write_text("stays")
    with pytest.raises(UserError):
        fit(tmp_path, [Refusing])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["other"]


def test_the_folder_of_a_refused_run_stays_if_a_plugin_wrote_into_it(tmp_path: Path) -> None:
    class Writing(Refusing):
        writes = True

    with pytest.raises(UserError):
        fit(tmp_path, [Writing])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "run.log", "mine.txt"}


def test_a_failure_in_the_build_leaves_config_log_and_traceback(tmp_path: Path) -> None:
    class Broken(Toy):
        @hookimpl
        def make_task(self) -> Any:
            raise RuntimeError("oops")

    with pytest.raises(TrainingError, match="plugin 'toy' failed in make_task: RuntimeError: oops"):
        fit(tmp_path, {"toy": Broken})
    assert "oops" in (tmp_path / "run" / "error.txt").read_text()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "run.log", "error.txt"}


def test_each_process_keeps_its_traceback_in_a_file_of_its_own(tmp_path: Path) -> None:
    error = ValueError("odd")
    for world in (World(), World(0, 2), World(1, 2)):
        Folder(tmp_path, LOG).keep_traceback(error, world)
    assert {path.name for path in tmp_path.iterdir()} == {"error.txt", "error-rank-0.txt", "error-rank-1.txt"}
    assert error.__notes__[-1] == f"traceback: {tmp_path / 'error-rank-1.txt'}"


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    class Never(Toy):
        @hookimpl
        def make_task(self) -> Any:
            raise AssertionError("built")

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"the output folder .* cannot be written \(.*\): choose another --save_path"):
        fit(tmp_path, {"toy": Never}, save_path=str(tmp_path / "file" / "below"))


def test_resuming_keeps_the_first_config_and_writes_its_own_beside_it(tmp_path: Path) -> None:
    first = fit(tmp_path, [Shelf], steps=6, stop_at=2).path / "config.yaml"
    before = first.read_text()
    fit(tmp_path, [Shelf], steps=6, stop_at=4, resume="latest", log_interval=3)
    assert first.read_text() == before
    assert "log_interval: 3" in (tmp_path / "run" / "config-resumed-at-00000002.yaml").read_text()
    with pytest.raises(UserError, match="already has 4 of 3 steps"):
        fit(tmp_path, [Shelf], steps=3, resume="latest")
    assert not (tmp_path / "run" / "config-resumed-at-00000004.yaml").exists()
    assert first.exists()


def test_the_saved_config_is_found_from_every_level_and_the_last_one_holds(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    step = run / "checkpoints" / "step-1"
    step.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 1")
    assert [saved_config(str(path)) for path in (run.parent, run.parent.parent, step)] == [None] * 3
    (run / "run.log").touch()
    for place in (run, run / "checkpoints", step):
        assert saved_config(str(place)) == run / "config.yaml"
    (run / "config-resumed-at-00000007.yaml").write_text("seed: 2")
    (run / "config-resumed-at-00000012.yaml").write_text("seed: 3")
    assert saved_config(str(run)) == run / "config-resumed-at-00000012.yaml"
    (step / "config.yaml").write_text("seed: 4")
    assert saved_config(str(step)) == step / "config.yaml"
    assert [saved_config(what) for what in ("", "latest", str(tmp_path / "none"))] == [None] * 3


def test_resuming_a_path_takes_its_config_from_there(command: Command) -> None:
    argv = ["--plugins", "toy,shelf", "--save_path", "mine", "--save_path_with_time", "False", "max_steps=5"]
    Path("data").mkdir()
    assert command(*argv, "--data_path", "data", "stop_at=2", "optim.lr=0.5")[0] == 0
    Path("mine/step-00000002").mkdir()  # the shelf keeps it in memory
    assert command("--resume", "mine/step-00000002", "stop_at=3")[0] == 0
    assert "finished at step 3 of 5 after" in Path("mine/run.log").read_text()
    assert "lr: 0.5" in Path("mine/config-resumed-at-00000002.yaml").read_text()
    Path("data").rmdir()
    code, line = command("--resume", "mine/step-00000002")
    assert code == 2
    assert line.endswith("mine/config-resumed-at-00000002.yaml)")
    assert command("--resume", "latest")[0] == 2
