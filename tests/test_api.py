"""Versions: a plugin for another core is refused by its metadata or by reading its file, before any of it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom import Plugin, UserError, __version__, api, discovery
from mindloom.discovery import Found, discover, load_file

RUNS = "import sys\nsys.modules['was_imported'] = sys\nfrom mindloom import Plugin\n"
Declare = Callable[..., Found]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Put a plugin into a checkout, or an installed distribution on the import path, and look it up."""
    monkeypatch.setattr(discovery, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.delitem(sys.modules, "was_imported", raising=False)
    monkeypatch.delitem(sys.modules, "mindloom_old", raising=False)

    def checked_out(version: str, requires: str = "", source: str = "class It(Plugin): pass\n") -> Found:
        home = tmp_path / "checkout" / "old"
        home.mkdir(parents=True)
        (home / "setup.cfg").write_text(
            f"[metadata]\nname = mindloom-ancient\nversion = 3\n\n[options]\ninstall_requires =\n    {requires}\n\n"
            f"[options.entry_points]\nmindloom.plugins =\n    old = mindloom_old:It\n"
            f"mindloom.api =\n    old = {version}\n"
        )
        (home / "mindloom_old.py").write_text(RUNS + source)
        return discover()["old"]

    def installed(version: str, requires: str = "", source: str = "class It(Plugin): pass\n") -> Found:
        about = tmp_path / "site" / "mindloom_ancient-3.dist-info"
        about.mkdir(parents=True)
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mindloom-ancient\nVersion: 3\n{needs}")
        points = f"[mindloom.plugins]\nold = mindloom_old:It\n[mindloom.api]\nold = {version}\n"
        (about / "entry_points.txt").write_text(points)
        (about.parent / "mindloom_old.py").write_text(RUNS + source)
        monkeypatch.syspath_prepend(str(about.parent))
        return discover()["old"]

    return lambda where, *rest: {"checkout": checked_out, "mindloom-ancient 3": installed}[where](*rest)


@pytest.mark.parametrize("where", ["checkout", "mindloom-ancient 3"])
@pytest.mark.parametrize(("version", "requires", "words"), [
    ("1", "mindloom>=0.1; python_version < '3'", ""),
    ("1", "mindloom>=0.0.1,<99", ""),
    ("2", "", "is written for version 2 of the hooks, and this mindloom speaks 1: upgrade mindloom, or switch it off "
     "with --plugins no:old"),
    ("0", "", "names no version of the hooks: write api = 1, not 0"),
    ("soon", "", "names no version of the hooks: write api = 1, not 'soon'"),
    ("1", "mindloom>=99", f"needs mindloom>=99, and this is {__version__}: pip install 'mindloom>=99', or another "
     "version of mindloom-ancient"),
    ("1", "mindloom[vips]==98.*; python_version >= '3'", "needs mindloom==98.*, and this is"),
    ("1", "mindloom>=99; python_version < '3'", ""),
    ("1", "mindloom>=99; extra == 'test'", ""),
    ("1", "other>=99", ""),
])  # fmt: skip
def test_metadata_is_judged_before_the_plugin_is_imported(
    declare: Declare, where: str, version: str, requires: str, words: str
) -> None:
    found = declare(where, version, requires)
    if not words:
        assert found.load().__name__ == "It"
        assert "was_imported" in sys.modules
        return
    with pytest.raises(UserError) as caught:
        found.load()
    assert str(caught.value).startswith(f"plugin 'old' ({where}) {words}")
    assert "was_imported" not in sys.modules


def test_an_older_version_is_refused_once_the_core_no_longer_speaks_it(
    declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "API", 4)
    found = declare("checkout", "1")
    assert found.load().__name__ == "It"
    monkeypatch.setattr(api, "OLDEST_API", 3)
    with pytest.raises(UserError, match="is written for version 1 of the hooks, and this mindloom speaks 3 to 4: upgr"):
        found.load()


def test_the_class_must_agree_with_what_the_metadata_promises(declare: Declare) -> None:
    found = declare("checkout", "1", "", "class It(Plugin): api = 7\n")
    with pytest.raises(UserError, match="is written for version 7 of the hooks"):
        found.load()


@pytest.mark.parametrize(("source", "words"), [
    ("class Mine(Plugin):\n    api = 2\n", "is written for version 2 of the hooks"),
    ("class Mine(Plugin):\n    api: int = 'x'\n", "names no version of the hooks: write api = 1, not 'x'"),
    ("import mindloom\nclass Mine(mindloom.Plugin):\n    before = api = 2\n", "is written for version 2 of the hooks"),
    ("from mindloom import hookimpl\nclass Mine(sys.Base):\n    api = 2\n    @hookimpl(wrapper=True)\n"
     "    def on_log(self): yield\n", "is written for version 2 of the hooks"),
])  # fmt: skip
def test_a_plugin_file_is_judged_before_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.delitem(sys.modules, "was_imported", raising=False)
    (tmp_path / "mine.py").write_text(RUNS + source)
    with pytest.raises(UserError) as caught:
        load_file(tmp_path / "mine.py")
    assert str(caught.value).startswith(f"plugin 'mine' ({tmp_path / 'mine.py'}) {words}")
    assert "was_imported" not in sys.modules


@pytest.mark.parametrize("source", [
    "class Client:\n    api = 'v2'\nclass Mine(Plugin):\n    api: int\n",
    "class Mine(Plugin):\n    api = 0 + 1\n",
])  # fmt: skip
def test_what_only_looks_like_a_version_refuses_nothing(tmp_path: Path, source: str) -> None:
    (tmp_path / "mine.py").write_text(RUNS + source)
    assert issubclass(load_file(tmp_path / "mine.py")[1], Plugin)


def test_a_computed_version_is_judged_once_the_class_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RUNS + "class Mine(Plugin):\n    api = 1 + 1\n")
    with pytest.raises(UserError, match="is written for version 2 of the hooks"):
        load_file(tmp_path / "mine.py")
