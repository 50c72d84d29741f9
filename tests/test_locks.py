"""One run at a time writes into a folder: a second one is refused before it writes, and a killed one is in no way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, UserError, folders, hookimpl, locks
from mindloom.folders import Folder
from mindloom.run import Run
from mindloom.testing import Shelf, fit

from .test_folders import LOG, Command

ROOT = Path(__file__).parents[1]
HOLD = """
import logging, sys, time
from pathlib import Path
from mindloom.folders import Folder
Folder(Path(sys.argv[1]), logging.getLogger("mindloom")).open()
print("held", flush=True)
time.sleep(100)
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes into a run folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "core")}
    argv = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rival(second: Callable[[], Any]) -> type[Plugin]:
    """A plugin in whose run a second one begins, and must leave everything as it is."""

    class Rival(Plugin):
        refused: UserError

        @hookimpl
        def on_train_start(self, run: Run) -> None:
            before = contents(run.path)
            with pytest.raises(
                UserError, match=f"another run is writing into {run.path}: wait until it ends"
            ) as caught:
                second()
            self.refused = caught.value
            assert contents(run.path) == before

    return Rival


def test_a_second_run_in_the_folder_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    done = fit(tmp_path, {"rival": rival(lambda: fit(tmp_path))})
    assert str(done.plugins["rival"].refused).endswith(", or choose another --save_path")
    assert done.plugins["rival"].refused.setting == "save_path"
    assert fit(tmp_path).exit_code == 0, "the lock goes with the run"


def test_a_run_that_is_being_written_is_not_resumed(tmp_path: Path) -> None:
    fit(tmp_path, [Shelf], steps=6, stop_at=2)
    second = rival(lambda: fit(tmp_path, [Shelf], steps=6, resume="latest"))
    done = fit(tmp_path, {"shelf": Shelf, "rival": second}, steps=6, resume="latest")
    assert str(done.plugins["rival"].refused).endswith("wait until it ends"), "another place is no way to resume"
    assert done.plugins["rival"].refused.setting == "resume"


def test_another_process_is_refused_with_exit_code_2_until_the_first_is_killed(
    tmp_path: Path, command: Command
) -> None:
    argv = ("--plugins", "toy", "--save_path", "mine", "--save_path_with_time", "False", "max_steps=2")
    Path("data").mkdir()
    with held(tmp_path / "mine") as process:
        code, line = command(*argv, "--data_path", "data")
        assert code == 2
        assert line.startswith("mindloom: error: another run is writing into mine: wait")
        assert line.endswith("--save_path (save_path: flag)")
        process.kill()
        process.wait(10)
        assert command(*argv, "--data_path", "data")[0] == 0


@pytest.mark.parametrize("system", [errno.EOPNOTSUPP, errno.ENOLCK, None])
def test_disks_and_systems_without_locks_do_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: int | None
) -> None:
    class Lacking:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(file: Any, how: int) -> None:
            raise OSError(system, "not here")

    monkeypatch.setattr(locks, "fcntl", Lacking if system else None)
    writers = [Folder(tmp_path, LOG), Folder(tmp_path, LOG)]
    for writer in writers:
        writer.open()
    for writer in writers:
        writer.close()


def test_who_comes_at_the_same_moment_does_not_take_the_log_of_the_first_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "lock", lambda file: False)
    late = Folder(tmp_path / "run", LOG)
    with pytest.raises(UserError, match="another run is writing"):
        late.open()
    late.close(refused=True)
    assert (tmp_path / "run" / "run.log").exists()
