"""What can happen to a folder of compiled graphs: the run notices, says so in one line, and compiles."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, hookimpl
from mindloom.blame import PluginError
from mindloom.graphs import cache as graphs
from mindloom.graphs import store as stores
from mindloom.graphs.store import ABOUT, TRIED
from mindloom.testing import fit
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parent))
import train_cached as driver


def cut(folder: Path) -> None:
    file = next(folder.glob("*.mindir"))
    file.write_bytes(file.read_bytes()[:-1])


def once(tmp_path: Path, **job: Any) -> Any:
    return driver.train(folder=str(tmp_path), cache=str(tmp_path / "cache"), **{"steps": 2, **job})


def kept(tmp_path: Path) -> Path:
    (found,) = (path for path in (tmp_path / "cache").iterdir() if not path.name.startswith("."))
    return found


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A cache with one graph, and the run that made it."""
    folder = tmp_path_factory.mktemp("cold")
    return folder / "cache", once(folder)


@pytest.fixture
def first(cold: tuple[Path, Any], tmp_path: Path) -> Any:
    """The run that made the cache ``tmp_path / "cache"``."""
    shutil.copytree(cold[0], tmp_path / "cache")
    return cold[1]


def died(folder: Path) -> None:
    (folder / f"{TRIED}123").touch()


@pytest.mark.parametrize("harm", [cut, died])
def test_a_run_survives_a_damaged_graph_and_mends_the_cache(
    harm: Callable[[Path], None], first: Any, tmp_path: Path
) -> None:
    harm(kept(tmp_path))
    second = once(tmp_path)
    third = once(tmp_path)
    assert [(run["loaded"], run["compiled"]) for run in (first, second, third)] == [(0, 1), (0, 1), (1, 0)]
    assert len(second["said"]) == 1
    assert "the graph of TrainStep is damaged" in second["said"][0]
    assert first["losses"] == second["losses"] == third["losses"]
    assert not list(kept(tmp_path).glob(f"{TRIED}*"))


class Failing(Plugin):
    """Fails after the first dispatch, as a loaded graph might in it."""

    @hookimpl
    def on_step_end(self) -> None:
        """Fail."""
        raise RuntimeError("no such kernel")


def test_a_graph_whose_first_step_fails_is_not_taken_again(tmp_path: Path) -> None:
    def run(name: str) -> None:
        with pytest.raises(PluginError, match="no such kernel"):
            fit(tmp_path, [Failing], device={"compile_cache": str(tmp_path / "cache")}, save_path=str(tmp_path / name))

    run("compiled")
    assert not list(kept(tmp_path).glob(f"{TRIED}*"))
    run("loaded")
    (mark,) = kept(tmp_path).glob(f"{TRIED}*")
    run("compiled again")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"no graph", os.urandom(4096)], ids=["text", "noise"])
def test_a_graph_that_mindspore_cannot_read_is_compiled(content: bytes, first: Any, tmp_path: Path) -> None:
    """Such as one that another build of the same version wrote."""
    folder = kept(tmp_path)
    (folder / "0.mindir").write_bytes(content)
    about = json.loads((folder / ABOUT).read_text())
    about["files"] = {name: ("0.mindir", hashlib.sha256(content).hexdigest()) for name in about["files"]}
    (folder / ABOUT).write_text(json.dumps(about))
    second = once(tmp_path)
    third = once(tmp_path)
    assert [(run["loaded"], run["compiled"]) for run in (second, third)] == [(0, 1), (1, 0)]
    assert len(second["said"]) == 1
    assert "compiling it anew" in second["said"][0]
    assert first["losses"] == second["losses"] == third["losses"]


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    run = once(tmp_path)
    assert run["compiled"] == 1
    assert run["said"] == [f"compile cache: nothing is kept: {tmp_path / 'cache'} cannot be written (File exists)"]


def test_a_full_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stores.shutil, "copyfile", full)
    run = once(tmp_path)
    assert "No space left on device" in run["said"][0]
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cell_that_cannot_be_looked_through_is_compiled_as_always(tmp_path: Path) -> None:
    run = once(tmp_path, plugins=["shy_plugin:Shy"])
    assert (run["loaded"], run["compiled"]) == (0, 1)
    assert run["said"] == [
        "compile cache: not for TrainStep: it cannot be looked through: RuntimeError: leave me alone"
    ]
    assert not (tmp_path / "cache").exists()


def test_mindspores_own_cache_is_left_alone_when_it_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv(graphs.MINDSPORES, "0")
    fit(tmp_path, steps=1, device={"compile_cache": str(tmp_path / "cache")})
    assert "left to MindSpore" in caplog.text
    assert not (tmp_path / "cache").exists()


def test_a_run_of_the_kit_touches_no_cache_unless_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(graphs.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fit(tmp_path, steps=1)
    assert not (tmp_path / "home").exists()
    fit(tmp_path, steps=1, device={"compile_cache": ""}, save_path=str(tmp_path / "again"))
    assert list((tmp_path / "home" / "mindloom" / "graphs").iterdir())


@pytest.mark.parametrize("wish", ["off", "False", "no"])
def test_every_way_of_saying_no_is_understood(wish: str) -> None:
    assert graphs.folder(OmegaConf.create({"device": {"compile_cache": wish}})) is None
