"""What ``mindloom plugins new`` makes installs, passes its tests and trains where only the core is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mindloom.catalog import creating

from .clean import ROOT, Clean

KINDS = {"pets": "format", "pet_log": "logger", "halves": "swap", "teller": "blank"}
"""Plugins that are made here, and of which kind: all live in one environment."""
ABSENT = ["torch", "diffusers", "transformers", "tokenizers", "tensorboardX", "webdataset", "xdist", "mypy"]


def home(clean: Clean, name: str) -> Path:
    """The folder that ``plugins new`` makes when it is not told which."""
    return clean.folder.parent / f"mindloom-{name.replace('_', '-')}"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """An environment with the core, in which a plugin of each kind was made and installed."""
    made = Clean(tmp_path_factory.mktemp("clean") / "environment")
    for name, kind in KINDS.items():
        done = made.run("mindloom", "plugins", "new", name, "--kind", kind, cwd=made.folder.parent)
        assert done.returncode == 0, done.stderr
    made.install(*(home(made, name) for name in KINDS))
    return made


@pytest.fixture(scope="module")
def work(clean: Clean) -> Path:
    """A working folder outside the checkout, with pictures drawn as the README of the format says."""
    work = clean.folder.parent / "work"
    work.mkdir()
    done = clean.run("python", home(clean, "pets") / "tests" / "draw_pets.py", "pictures", cwd=work)
    assert done.returncode == 0, done.stderr
    return work


def test_the_environment_holds_the_core_and_nothing_that_plugins_bring(clean: Clean, work: Path) -> None:
    bundled = [f"mindloom_{path.parent.name}" for path in (ROOT / "plugins").glob("*/setup.cfg")]
    assert len(bundled) > 10
    script = (
        "import importlib.util, sys, mindloom;"
        "print([name for name in sys.argv[1:] if importlib.util.find_spec(name)], mindloom.__file__)"
    )
    done = clean.run("python", "-c", script, *bundled, *ABSENT, cwd=work)
    assert done.stdout == f"[] {clean.site / 'mindloom' / '__init__.py'}\n", done.stdout + done.stderr
    listed = json.loads(clean.run("mindloom", "plugins", "list", "--json", cwd=work).stdout)
    assert {plugin["name"] for plugin in listed} == {*KINDS, "toy", "pictures"}


def test_the_installed_core_has_every_template(clean: Clean) -> None:
    for name, kind in KINDS.items():
        missing = [path for path in creating.render(name, kind) if not (home(clean, name) / path).is_file()]
        assert not missing


def test_what_is_made_passes_its_own_tests_there(clean: Clean, work: Path) -> None:
    tests = [home(clean, name) / "tests" for name in KINDS]
    done = clean.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=work)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_a_format_made_by_it_trains_there(clean: Clean, work: Path) -> None:
    given = ["--plugins", "pictures,pets", "data.path=pictures", "max_steps=4", "save_path=pictured"]
    done = clean.run("mindloom", "train", *given, cwd=work)
    assert done.returncode == 0, done.stderr
    assert "finished at step 4 of 4" in done.stderr


def test_a_logger_a_swap_and_an_observer_made_by_it_train_there(clean: Clean, work: Path) -> None:
    settings = ["data.path=.", "max_steps=4", "log_interval=2", "plugins.toy.hidden=2", "plugins.teller.every=2"]
    place = ["save_path=logged", "save_path_with_time=false"]
    done = clean.run("mindloom", "train", "--plugins", "toy,pet_log,halves,teller", *settings, *place, cwd=work)
    assert done.returncode == 0, done.stderr
    assert "halves replaced 2 cells: products in float16" in done.stderr
    assert "teller: 4 of 4 steps done" in done.stderr
    lines = (work / "logged" / "pet_log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]
