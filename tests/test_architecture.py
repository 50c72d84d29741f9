"""The house rules: a core that knows no plugin, plugins that know no other, and every part in its shape."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from mindloom.api import API
from mindloom.hooks import HookSpecs
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/setup.cfg"))
NAMES = [path.name for path in PLUGINS]
BESIDE = {"pyyaml"}  # comes with omegaconf, whose errors are its errors
SOURCES = [path for folder in ("core", "plugins", "tests", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_there_are_plugins_to_check() -> None:
    assert {"sdxl", "csv", "checkpoint"} <= set(NAMES)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_no_plugins_name_occurs_in_the_core(path: Path) -> None:
    text = path.read_text()
    for name in NAMES:
        found = re.search(rf"mindloom_{name}\b|[\"'`]{name}[\"'`]", text)
        assert found is None, f"{path.name} names the plugin {name}: {found}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_no_plugin(path: Path) -> None:
    assert not {f"mindloom_{name}" for name in NAMES} & set(imported(path))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_no_plugin_imports_another(plugin: Path) -> None:
    others = {f"mindloom_{name}" for name in NAMES if name != plugin.name}
    for path in plugin.rglob("*.py"):
        assert not others & set(imported(path)), path


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_every_plugin_has_the_same_shape(plugin: Path) -> None:
    package = plugin / f"mindloom_{plugin.name}"
    for part in ("setup.cfg", "pyproject.toml", "README.md"):
        assert (plugin / part).is_file(), part
    assert (package / "__init__.py").is_file()
    assert (package / "py.typed").is_file()
    assert list((plugin / "tests").glob("test_*.py"))
    about = configparser.RawConfigParser()
    about.read(plugin / "setup.cfg", encoding="utf-8")
    assert about["metadata"]["name"] == f"mindloom-{plugin.name.replace('_', '-')}"
    assert about["metadata"]["version"]
    assert about["metadata"]["description"]
    points = about["options.entry_points"]["mindloom.plugins"].split("\n")
    assert [point.split("=")[0].strip() for point in points if point] == [plugin.name]
    assert about["options.entry_points"]["mindloom.api"].split() == [plugin.name, "=", str(API)]
    requirements = about["options"]["install_requires"].split()
    assert "mindloom" in {re.split(r"[<>=~]", requirement)[0] for requirement in requirements}
    assert (plugin / "pyproject.toml").read_text() == (PLUGINS[0] / "pyproject.toml").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.name)
def test_who_imports_plugins_is_marked_as_together(path: Path) -> None:
    """The core's other tests run with no plugin there (see the conftest.py of the checkout)."""
    if path.name.startswith("test_") and {f"mindloom_{name}" for name in NAMES} & set(imported(path)):
        assert "pytest.mark.together" in path.read_text()


def declared(about: configparser.RawConfigParser, *extras: str) -> set[str]:
    """Distributions that a setup.cfg requires, in canonical form."""
    lines = about["options"]["install_requires"].splitlines()
    for extra in extras:
        lines += about["options.extras_require"].get(extra, "").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return {canonicalize_name(re.split(r"[<>=~\[ ;]", line)[0]) for line in wanted}


@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=lambda path: path.name)
def test_what_is_imported_is_required(folder: Path) -> None:
    """Each distribution works alone: with its own requirements and the core's."""
    about, core = configparser.RawConfigParser(), configparser.RawConfigParser()
    about.read(folder / "setup.cfg", encoding="utf-8")
    core.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = about["options.extras_require"] if about.has_section("options.extras_require") else ()
    allowed = declared(core) | declared(about, *extras) | BESIDE
    found = packages_distributions()
    for path in (folder / "core" if folder == ROOT else folder).rglob("mindloom*/**/*.py"):
        for package in set(imported(path)) - sys.stdlib_module_names:
            owners = {canonicalize_name(owner) for owner in found.get(package, [package])}
            own = package == "mindloom" or package == f"mindloom_{folder.name}"
            assert own or owners & allowed, f"{path.relative_to(ROOT)} imports {package}, which nobody requires"


def test_every_hook_says_what_it_is_for_and_slots_say_that_they_stop() -> None:
    hooks = {name: spec for name, spec in vars(HookSpecs).items() if not name.startswith("_")}
    assert len(hooks) <= 24
    for name, spec in hooks.items():
        verb = name.partition("_")[0]
        assert verb in {"on", "make", "add", "edit"}, name
        assert spec.__doc__, name
        first = spec.mindloom_spec["firstresult"]
        assert first == (verb == "make"), name
        assert ("first non-None result" in spec.__doc__) == first, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for_and_stays_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, "split it"
    assert ast.get_docstring(ast.parse(text)) or not text.strip(), "begin with a docstring"


def test_the_door_stays_a_door() -> None:
    assert len((ROOT / "train.py").read_text().splitlines()) <= 20


def test_nothing_uses_pickle() -> None:
    for path in [*CORE, *(ROOT / "plugins").rglob("mindloom_*/**/*.py")]:
        assert "pickle" not in set(imported(path)), path
        assert "allow_pickle=True" not in path.read_text(), path
