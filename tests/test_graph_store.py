"""Compiled graphs on disk: written whole, checked when read, pruned, and shared with processes that get killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom.graphs.store import ABANDONED, ABOUT, UNFINISHED, DamagedError, Store

sys.path.insert(0, str(Path(__file__).parent))

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


def test_a_graph_that_a_process_did_not_survive_is_refused_and_one_in_use_is_not(
    entry: Callable[..., Path], tmp_path: Path
) -> None:
    folder, store = entry(), Store(tmp_path / "store")
    trial = store.trial("key")
    assert trial is not None
    assert store.take("key", tmp_path / "meanwhile")
    trial.end(survived=True)
    assert store.take("key", tmp_path / "afterwards")
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    script = f"from pathlib import Path; from mindloom.graphs.store import Store; {{}}; {kill}"
    used = f"trial = Store(Path({str(folder.parent)!r})).trial('key')"
    assert subprocess.run([sys.executable, "-c", script.format(used)], timeout=60).returncode == -signal.SIGKILL
    with pytest.raises(DamagedError, match="did not survive"):
        store.take("key", tmp_path / "out")


def test_of_two_who_write_at_once_the_first_wins(entry: Callable[..., Path], tmp_path: Path) -> None:
    first = (entry() / "0.mindir").read_bytes()
    assert (entry() / "0.mindir").read_bytes() == first
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["key"]


DYING = """
import os, signal, sys
from pathlib import Path
from mindloom.graphs import store

def half(source, target):
    Path(target).write_bytes(Path(source).read_bytes()[:100])
    os.kill(os.getpid(), signal.SIGKILL)

store.shutil.copyfile = half
store.Store(Path(sys.argv[1])).put("key", {"graph": Path(sys.argv[2])}, {})
"""


def test_a_process_killed_while_it_writes_harms_nobody(entry: Callable[..., Path], tmp_path: Path) -> None:
    graph = tmp_path / "graph.mindir"
    graph.write_bytes(bytes(1000))
    dying = subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "store"), str(graph)], timeout=60)
    assert dying.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "store").iterdir()
    assert left.name.startswith(UNFINISHED)
    assert (left / "0.mindir").stat().st_size == 100
    assert not Store(tmp_path / "store").take("key", tmp_path / "out")
    entry()
    assert Store(tmp_path / "store").take("key", tmp_path / "out")


def test_the_most_similar_entry_tells_what_changed(entry: Callable[..., Path], tmp_path: Path) -> None:
    entry("one", settings="a", shapes="x")
    entry("two", settings="b", shapes="x")
    store = Store(tmp_path / "store")
    assert store.changed_since({**PARTS, "settings": "b", "shapes": "y"}) == ["shapes"]
    assert store.changed_since({**PARTS, "cell": "Loop", "settings": "b", "shapes": "y"}) == []
