"""``mindloom plugins list`` and ``show``: what they say, in a table and as JSON, and how little they import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import blame, cli, discovery

Run = Callable[..., tuple[int, str, str]]
ROOT, WANTED = Path(__file__).parents[1], "no_such_package"

PETS = '''
from dataclasses import dataclass, field
from pathlib import Path
from mindloom import Plugin, hookimpl
from mindloom.schema import interval, setting
from omegaconf import MISSING

@dataclass
class Fur:
    length: float = setting(0.5, "of a hair")
    colours: list[str] = setting(["*", "black"], "one for each pet")

@dataclass
class Config:
    path: str = setting(MISSING, "where they live")
    every: int = interval(10, "steps between meals")
    fur: Fur = field(default_factory=Fur)
    home: Path | None = None

class Pets(Plugin):
    """Photographs of pets.

    And more.
    """

    Config = Config
    before = ("zoo",)
    ranks = "all"

    @hookimpl
    def on_log(self, record): ...

    @hookimpl(wrapper=True)
    def make_step(self):
        return (yield)

    @hookimpl
    def make_schedule(self): ...

    @hookimpl
    def edit_model(self): ...

    @hookimpl
    def add_formats(self): ...

    def state_dict(self): return {}
'''
SETUP = """
[metadata]
name = mindloom-{name}
version = 1.5
description = Distribution of {name}
[options]
install_requires =
    mindloom>=0.1
    # for whiskers
    pillow
[options.entry_points]
mindloom.plugins =
    {name} = mindloom_{name}:{kind}
{more}
"""
SLOT = "from mindloom import Plugin, hookimpl\nclass It(Plugin):\n    @hookimpl\n    def make_schedule(self): ...\n"
KEYS = "name summary version distribution origin target api requires brings before after ranks keeps_state"


def check_out(name: str, source: str, kind: str = "It", more: str = "", **modules: str) -> None:
    """Put a plugin into the checkout."""
    package = discovery.CHECKOUT / name / f"mindloom_{name}"
    package.mkdir(parents=True)
    (package.parent / "setup.cfg").write_text(SETUP.format(name=name, kind=kind, more=more))
    for module, text in {"__init__": source, **modules}.items():
        (package / f"{module}.py").write_text(text)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout with one plugin."""
    monkeypatch.setattr(discovery, "CHECKOUT", tmp_path / "plugins")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.startswith("mindloom_")]:
        monkeypatch.delitem(sys.modules, name)
    brought = "mindloom.formats =\n    cats = pets\nmindloom.flags =\n    pet_path = pets:path\n"
    check_out("pets", "from .plugin import Pets\n", "Pets", brought, plugin=PETS)


@pytest.fixture
def plugins(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``mindloom plugins`` in this process; return exit code, what was printed, and the complaint."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(["plugins", *argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def listed(plugins: Run, *argv: str) -> dict[str, dict[str, Any]]:
    """The list, by name, without the plugins of the core's own distribution, which may be installed."""
    code, out, _ = plugins("list", "--json", *argv)
    assert code == 0
    return {row.pop("name"): row for row in json.loads(out) if row["where"] != "mindloom"}


def test_the_list_tells_of_a_plugin_without_importing_it(plugins: Run) -> None:
    assert listed(plugins) == {"pets": {"version": "1.5", "where": "checkout", "summary": "Photographs of pets"}}
    assert not [name for name in sys.modules if name.startswith("mindloom_pets")]
    lines = plugins("list")[1].splitlines()
    assert lines[0].split() == ["plugin", "version", "from", "what", "it", "does"]
    assert ["pets", "1.5", "checkout", "Photographs", "of", "pets"] in [line.split() for line in lines[2:]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class It:\n    '''First.\n\n    Second.'''\n", "First"),
        ("from .part import It as It\n", "In a part"),
        ("from mindloom_odd.part import Other as It\n", "Another"),
        ("from .hop import It\n", "In a part"),
        ("from .nowhere import It\n", "Distribution of odd"),
        ("class It: ...\n", "Distribution of odd"),
        ("def broken(:\n", "Distribution of odd"),
        ("It = None\n", "Distribution of odd"),
    ],
)
def test_the_summary_is_the_classs_docstring_wherever_it_is_imported_from(
    plugins: Run, source: str, words: str
) -> None:
    part = "class It:\n    '''In a part'''\nclass Other:\n    'Another.'\n"
    check_out("odd", source, part=part, hop="from .part import It")
    assert listed(plugins)["odd"]["summary"] == words


def test_the_list_tells_what_a_config_switches_on_and_where(plugins: Run) -> None:
    for name in ("off", "blocked", "typed", "unused"):
        check_out(name, SLOT)
    Path("mine.py").write_text("from mindloom import Plugin\nclass Mine(Plugin):\n    'My own.'\n")
    Path("my.yaml").write_text("plugins: {pets: {every: 5}, off: true, blocked: true, gone: true}\n")
    Path("more.yaml").write_text("plugins: {off: false}\n")
    argv = ["--config", "my.yaml", "--config", "more.yaml", "--plugins", "no:blocked,typed,./mine.py", "seed=1"]
    rows = listed(plugins, *argv)
    assert {name: (row["state"], row["by"]) for name, row in rows.items()} == {
        "pets": ("on", "my.yaml"),
        "off": ("off", ""),
        "blocked": ("blocked", ""),
        "typed": ("on", "command line"),
        "unused": ("off", ""),
        "gone": ("on", "my.yaml"),
        "mine": ("on", "command line"),
    }
    assert (rows["mine"]["where"], rows["mine"]["summary"]) == ("./mine.py", "My own")
    assert rows["gone"]["where"] == "missing"
    assert "switched on by" in plugins("list", *argv)[1].splitlines()[0]


def test_nothing_is_imported_for_the_list_and_no_mindspore_for_all_there_is_to_know() -> None:
    script = (
        "import sys, time; from mindloom import cli; start = time.perf_counter()\n"
        "assert cli.main(['plugins', 'list']) == 0; print(time.perf_counter() - start)\n"
        "many = [n for n in sys.modules if n.startswith('mindloom_') or n in ('mindspore', 'numpy', 'PIL')]\n"
        "assert not many, many\n"
        "from mindloom.discovery import discover\n"
        "for name in discover(): assert cli.main(['plugins', 'show', name]) == 0\n"
        "assert 'mindspore' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seconds = next(line for line in done.stdout.splitlines() if line.startswith("0."))
    assert float(seconds) < 0.5
    for path in (ROOT / "plugins").glob("*/setup.cfg"):
        assert f"\n{path.parent.name}: " in done.stdout


def test_show_tells_everything_as_json(plugins: Run) -> None:
    check_out("zoo", SLOT)
    check_out("deaf", "import no_such_package\n")
    code, out, _ = plugins("show", "pets", "--json")
    assert code == 0
    assert json.loads(out) == {
        "name": "pets",
        "summary": "Photographs of pets",
        "version": "1.5",
        "distribution": "mindloom-pets",
        "origin": "checkout",
        "target": "mindloom_pets:Pets",
        "api": 1,
        "requires": ["mindloom>=0.1", "pillow"],
        "brings": {"flags": {"pet_path": "pets:path"}, "formats": {"cats": "pets"}, "commands": {}, "measures": {}},
        "before": ["zoo"],
        "after": [],
        "ranks": "all",
        "keeps_state": True,
        "hooks": [
            {"hook": "add_formats", "kind": "contributes"},
            {"hook": "edit_model", "kind": "edits"},
            {"hook": "make_schedule", "kind": "fills"},
            {"hook": "make_step", "kind": "wraps"},
            {"hook": "on_log", "kind": "observes"},
        ],
        "settings": [
            _setting("path", "str", None, "where they live", required=True),
            _setting("every", "int", 10, "steps between meals", interval=True),
            _setting("fur.length", "float", 0.5, "of a hair"),
            _setting("fur.colours", "list[str]", ["*", "black"], "one for each pet"),
            _setting("home", "Path | None", None, ""),
        ],
        "conflicts": [{"hook": "make_schedule", "plugins": ["zoo"]}],
        "skipped": [
            {
                "name": "deaf",
                "reason": f"plugin 'deaf' (checkout) needs the package {WANTED!r}: {blame.remedy(WANTED, '')}",
            }
        ],
    }


def _setting(key: str, kind: str, default: Any, text: str, required: bool = False, interval: bool = False) -> Any:
    return {
        "key": key, "type": kind, "default": default, "required": required, "interval": interval, "help": text
    }  # fmt: skip


def test_show_tells_everything_as_text(plugins: Run) -> None:
    check_out("zoo", SLOT)
    lines = [" ".join(line.split()) for line in plugins("show", "pets")[1].splitlines()]
    for line in [
        "pets: Photographs of pets",
        "needs mindloom>=0.1, pillow",
        "flags --pet_path",
        "before zoo",
        "logs on all processes",
        "state kept in checkpoints",
        "path str must be set where they live",
        "every int 10 steps between meals; counts steps",
        "fur.colours list[str] ['*', black] one for each pet",
        "home Path | None null",
        "make_step wraps",
        "make_schedule is also filled by zoo: enable one of them",
    ]:
        assert line in lines


def test_show_knows_plugin_files_and_plugins_without_anything(plugins: Run) -> None:
    Path("mine.py").write_text("from mindloom import Plugin\nclass Mine(Plugin): ...\n")
    code, out, _ = plugins("show", "./mine.py")
    assert code == 0
    assert out.splitlines()[0] == "mine"
    assert "./mine.py" in out
    assert out.endswith("no settings\n\nno hooks\n")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_package\n", "plugin 'bad' (checkout) needs the package 'no_such_package'"),
        (SLOT.replace("make_schedule", "make_shedule"), "plugin 'bad' implements an unknown hook"),
        (SLOT.replace("(self)", "(self, runn)"), "plugin 'bad': there is no argument 'runn' of make_schedule"),
        (SLOT + "    Config = 5\n", "plugin 'bad': its Config must be a dataclass"),
        (SLOT + "    api = 99\n", "plugin 'bad' (checkout) is written for version 99 of the hooks"),
        ("It = 3\n", "plugin 'bad' (checkout): mindloom_bad:It is not a mindloom.Plugin class"),
    ],
)
def test_a_broken_plugin_is_one_line(plugins: Run, source: str, words: str) -> None:
    check_out("bad", source)
    code, out, err = plugins("show", "bad")
    assert (code, out) == (2, "")
    assert err.startswith(f"mindloom: error: {words}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["lsit"], "there is no action 'lsit' of mindloom plugins: did you mean 'list'?"),
        (["show", "pest"], "there is no plugin 'pest': did you mean 'pets'?"),
        (["list", "--config", "none.yaml"], "config file none.yaml cannot be read"),
    ],
)
def test_wrong_use_is_one_line(plugins: Run, argv: list[str], words: str) -> None:
    code, out, err = plugins(*argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"mindloom: error: {words}")
