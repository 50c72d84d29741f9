"""Finding plugins: from a checkout, from installed distributions, from a file; never importing what is not enabled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mindloom import UserError, discovery
from mindloom.discovery import Found, discover, find, load_file

ROOT = Path(__file__).parents[1]


MUTABLE = """from dataclasses import dataclass
from mindloom import Plugin
class Mine(Plugin):
    @dataclass
    class Config:
        many: list = []
"""
PROPERTY = "from mindloom import Plugin\nclass Mine(Plugin):\n    @property\n    def name(self): return 'x'\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path with one installed plugin distribution; the checkout is empty."""
    site = tmp_path / "site"
    about = site / "mindloom_fake-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mindloom-fake\nVersion: 1.2\nSummary: Fakes it\n")
    (about / "entry_points.txt").write_text(
        "[mindloom.plugins]\nfake = mindloom_fake:Fake\n\n[mindloom.flags]\nfake_size = fake:size\n"
    )
    (site / "mindloom_fake.py").write_text("from mindloom import Plugin\nclass Fake(Plugin): pass\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(discovery, "CHECKOUT", tmp_path / "checkout")
    yield site
    sys.modules.pop("mindloom_fake", None)


def check_out(folder: Path, name: str, source: str, version: str = "0.1") -> Found:
    """Put a plugin into a checkout and look it up again."""
    home = folder / "checkout" / name
    home.mkdir(parents=True)
    (home / "setup.cfg").write_text(
        f"[metadata]\nname = mindloom-{name}\nversion = {version}\ndescription = 100 % of {name}\n\n"
        f"[options.entry_points]\nmindloom.plugins =\n    {name} = mindloom_{name}:It\n"
        f"mindloom.flags =\n    go = {name}\n"
    )
    (home / f"mindloom_{name}.py").write_text(source)
    return discover()[name]


def test_an_installed_distribution_is_found_with_its_metadata_and_flags(site: Path) -> None:
    found = discover()["fake"]
    assert (found.version, found.summary, found.where) == ("1.2", "Fakes it", "mindloom-fake")
    assert found.flags == (("fake_size", "fake:size"),)
    assert found.load().__name__ == "Fake"


def test_a_checkout_is_found_without_installing(site: Path, tmp_path: Path) -> None:
    found = check_out(tmp_path, "local", "from mindloom import Plugin\nclass It(Plugin): pass\n")
    assert (found.version, found.summary, found.where) == ("0.1", "100 % of local", "checkout")
    assert found.flags == (("go", "local"),)
    assert found.load().__name__ == "It"


def test_the_checkout_wins_over_an_installed_distribution(site: Path, tmp_path: Path) -> None:
    assert check_out(tmp_path, "fake", "", version="9").version == "9"


def test_discovery_imports_no_plugin(site: Path, tmp_path: Path) -> None:
    check_out(tmp_path, "explosive", "raise SystemError('imported')\n")
    assert {"fake", "explosive"} <= set(discover())
    assert "mindloom_fake" not in sys.modules


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        (
            "needy",
            "import no_such_package.part\n",
            "needs the package 'no_such_package': pip install no_such_package, if",
        ),
        ("wrongname", "from mindloom import nothing_there\n", "cannot be imported: ImportError"),
        ("garbled", "def broken(:\n", "cannot be imported: SyntaxError"),
        ("failing", "1 / 0\n", "cannot be imported: ZeroDivisionError"),
        ("empty", "", "mindloom_empty:It is not a mindloom.Plugin class"),
        ("strange", "class It: pass\n", "mindloom_strange:It is not a mindloom.Plugin class"),
        ("instance", "It = 5\n", "mindloom_instance:It is not a mindloom.Plugin class"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_says_why(
    site: Path, tmp_path: Path, name: str, source: str, words: str
) -> None:
    found = check_out(tmp_path, name, source)
    with pytest.raises(UserError) as caught:
        found.load()
    assert words in str(caught.value)
    assert f"plugin {name!r} (checkout)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_suggests_the_nearest(site: Path) -> None:
    with pytest.raises(UserError, match="there is no plugin 'fkae': did you mean 'fake'"):
        find("fkae", discover())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n", "exactly one subclass of mindloom.Plugin, not 0"),
        ("from mindloom import Plugin\nclass A(Plugin): pass\nclass B(Plugin): pass\n", "not 2"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        ("import no_such_package\n", "cannot be imported: ModuleNotFoundError"),
        ("import no_such_package\n", "pip install no_such_package, if that is the package's name"),
        ("import beside\n", "a plugin file cannot import its neighbours: make a distribution with: mindloom plugins"),
        ("from folder import a\n", "a plugin file cannot import its neighbours"),
        ("import written\n", "pip install written"),
        (MUTABLE, "use default_factory (mine.py, line 4)"),
        (PROPERTY, "the core sets its name when it is enabled: call what Mine defines as name something else"),
    ],
)
def test_a_plugin_file_must_load_and_hold_exactly_one_plugin(
    tmp_path: Path, source: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("beside.py", "folder/a.py", "written/log.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(UserError) as caught:
        load_file(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plugin_file_may_import_other_plugins_classes(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from mindloom.testing import Recorder\nclass Mine(Recorder): pass\n")
    assert load_file(path)[0] == "mine"


@pytest.mark.parametrize("name", ["my.logger.py", "core.py"])
def test_a_plugin_file_whose_name_will_not_do_is_refused_unread(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("raise SystemExit")
    with pytest.raises(UserError, match=f"plugin file .*{name}.*: rename it"):
        load_file(tmp_path / name)


def test_a_missing_plugin_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.py does not exist"):
        load_file(tmp_path / "none.py")


def test_listing_plugins_is_fast_and_does_not_import_mindspore() -> None:
    script = (
        "import sys, runpy, time; sys.argv = ['train.py', '--list-plugins']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'mindspore', 'numpy', 'PIL', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(time.process_time())"  # not the wall's: other tests run beside this one
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout.splitlines()[-1]))
    for path in (ROOT / "plugins").glob("*/setup.cfg"):
        assert path.parent.name in done.stdout
    assert min(seconds) < 0.5
