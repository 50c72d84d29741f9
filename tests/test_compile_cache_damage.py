"""What can happen to a folder of compiled graphs: the run notices, says so in one line, and compiles."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom.graphs import cache as graphs
from mindloom.graphs import store as stores
from mindloom.graphs.store import ABANDONED, ABOUT, UNFINISHED, DamagedError, Store
from mindloom.testing import Toy, fit

sys.path.insert(0, str(Path(__file__).parent))
import train_cached as driver

PARTS = {"cell": "Step", "code": "1"}


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., Path]:
    """Make an entry, and return its folder."""

    def put(key: str = "key", size: int = 100, age: float = 0.0, limit: int = 10**6, **parts: str) -> Path:
        file = tmp_path / "graph_7.mindir"
        file.write_bytes(os.urandom(size))
        Store(tmp_path / "store", limit).put(key, {"rank_0/graph_#.mindir": file}, {**PARTS, **parts})
        folder = tmp_path / "store" / key
        if age:
            os.utime(folder, (time.time() - age,) * 2)
        return folder

    return put


def cut(folder: Path) -> None:
    file = next(folder.glob("*.mindir"))
    file.write_bytes(file.read_bytes()[:-1])


def turn(folder: Path) -> None:
    file = next(folder.glob("*.mindir"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def lose(folder: Path) -> None:
    next(folder.glob("*.mindir")).unlink()


def blot(folder: Path) -> None:
    (folder / ABOUT).write_bytes(b"\x00\xff")


def halve(folder: Path) -> None:
    text = (folder / ABOUT).read_text()
    (folder / ABOUT).write_text(text[: len(text) // 2])


def empty(folder: Path) -> None:
    (folder / ABOUT).write_text("{}")


def leave(folder: Path) -> None:
    (folder / ABOUT).unlink()


def escape(folder: Path) -> None:
    about = json.loads((folder / ABOUT).read_text())
    about["files"] = {"../../stolen": next(iter(about["files"].values()))}
    (folder / ABOUT).write_text(json.dumps(about))


HARM = [cut, turn, lose, blot, halve, empty, leave, escape]


def test_an_entry_comes_back_as_it_was(entry: Callable[..., Path], tmp_path: Path) -> None:
    folder = entry()
    assert Store(tmp_path / "store").take("key", tmp_path / "out")
    copy = tmp_path / "out" / "rank_0" / "graph_#.mindir"
    assert copy.read_bytes() == (folder / "0.mindir").read_bytes()
    assert not Store(tmp_path / "store").take("another", tmp_path / "out")


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_entry_is_recognised_and_nothing_of_it_is_used(
    harm: Callable[[Path], None], entry: Callable[..., Path], tmp_path: Path
) -> None:
    harm(entry())
    with pytest.raises(DamagedError):
        Store(tmp_path / "store").take("key", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "stolen").exists()


def test_the_longest_unused_go_when_there_is_too_much(entry: Callable[..., Path], tmp_path: Path) -> None:
    old, used = entry("old", 300, age=300), entry("used", 300, age=400)
    Store(tmp_path / "store").take("used", tmp_path / "out")
    new = entry("new", 300, limit=1300)
    assert (new.exists(), used.exists(), old.exists()) == (True, True, False)
    assert entry("huge", size=5000, limit=900).exists()  # what has just been made is not thrown away
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["huge"]


def test_what_killed_processes_left_is_cleared_away_but_not_what_is_being_written(
    entry: Callable[..., Path], tmp_path: Path
) -> None:
    for name, age in (("old", ABANDONED + 10), ("young", 10.0)):
        (tmp_path / "store" / f"{UNFINISHED}{name}").mkdir(parents=True)
        os.utime(tmp_path / "store" / f"{UNFINISHED}{name}", (time.time() - age,) * 2)
    entry()
    assert {path.name for path in (tmp_path / "store").iterdir()} == {"key", f"{UNFINISHED}young"}


def test_the_most_similar_entry_tells_what_changed(entry: Callable[..., Path], tmp_path: Path) -> None:
    entry("one", settings="a", shapes="x")
    entry("two", settings="b", shapes="x")
    store = Store(tmp_path / "store")
    assert store.changed_since({**PARTS, "settings": "b", "shapes": "y"}) == ["shapes"]
    assert store.changed_since({**PARTS, "cell": "Loop", "settings": "b", "shapes": "y"}) == []


def once(tmp_path: Path, **job: Any) -> Any:
    return driver.train(folder=str(tmp_path), cache=str(tmp_path / "cache"), **{"steps": 2, **job})


def kept(tmp_path: Path) -> Path:
    (found,) = (path for path in (tmp_path / "cache").iterdir() if not path.name.startswith("."))
    return found


@pytest.mark.parametrize("harm", [cut, blot])
def test_a_run_survives_a_damaged_graph_and_mends_the_cache(harm: Callable[[Path], None], tmp_path: Path) -> None:
    first = once(tmp_path)
    harm(kept(tmp_path))
    second = once(tmp_path)
    third = once(tmp_path)
    assert [(run["loaded"], run["compiled"]) for run in (first, second, third)] == [(0, 1), (0, 1), (1, 0)]
    assert len(second["said"]) == 1
    assert "the graph of TrainStep is damaged" in second["said"][0]
    assert first["losses"] == second["losses"] == third["losses"]


@pytest.mark.parametrize("content", [b"", b"no graph", os.urandom(4096)], ids=["empty", "text", "noise"])
def test_a_graph_that_mindspore_cannot_read_is_compiled(content: bytes, tmp_path: Path) -> None:
    """Such as one that another build of the same version wrote."""
    first = once(tmp_path)
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
def test_every_way_of_saying_no_is_understood(wish: str, tmp_path: Path) -> None:
    fit(tmp_path, task=Toy, steps=1, device={"compile_cache": wish})
    assert not Path(wish).exists()


def begin(tmp_path: Path, name: str, **job: Any) -> subprocess.Popen[str]:
    """Start a process that trains in a folder of its own."""
    folder = tmp_path / name
    folder.mkdir()
    jobs = folder / "jobs.json"
    jobs.write_text(json.dumps([{"folder": str(folder), "cache": str(tmp_path / "cache"), "steps": 2, **job}]))
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    return subprocess.Popen(
        [sys.executable, str(driver.__file__), str(jobs)], env={**os.environ, "PYTHONPATH": path}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_processes_at_once_end_with_one_sound_entry(tmp_path: Path) -> None:
    runs = []
    for process in [begin(tmp_path, name) for name in ("one", "two")]:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-2000:]
        runs += json.loads(out.partition(driver.MARK)[2])
    assert kept(tmp_path).is_dir()
    runs.append(once(tmp_path))
    assert runs[-1]["loaded"] == 1
    assert len({(*run["losses"], run["weights"]) for run in runs}) == 1


def test_a_process_killed_while_it_writes_harms_nobody(tmp_path: Path) -> None:
    dying = begin(tmp_path, "dying", plugins=["dying_plugin:Dying"])
    dying.communicate(timeout=300)
    assert dying.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "cache").iterdir()
    assert left.name.startswith(UNFINISHED)
    assert (left / "0.mindir").stat().st_size == 100
    first, second = once(tmp_path), once(tmp_path)
    assert (first["compiled"], second["loaded"]) == (1, 1)
    assert first["losses"] == second["losses"]
