"""For every test, of the core and of plugins: the checkout on the import path, and only those plugins that it may use.

The core's tests run with no bundled plugin there, a plugin's tests with that one alone, and tests marked ``together``
with all of them: what is not in a test's room can be neither found nor imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PLUGINS = {path.parent.name: path.parent for path in sorted(HERE.glob("plugins/*/setup.cfg"))}
BEFORE = os.environ.get("PYTHONPATH")
sys.path[:0] = [str(HERE / "core"), *map(str, PLUGINS.values())]
# MindSpore needs the Python implementation of protobuf and sets this itself, too late once TensorBoard is imported.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
os.environ.setdefault("GLOG_v", "3")


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark that opens all rooms."""
    config.addinivalue_line("markers", "together: needs the bundled plugins, not the core alone")
    if not hasattr(config, "workerinput"):  # workers of xdist inherit it
        folder = TemporaryDirectory(prefix="mindloom-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        # Graphs of this session alone: nobody's cache folder is a test's business.
        os.environ["MINDLOOM_COMPILE_CACHE"] = folder.name


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the plugin system stands on: the suite runs with the oldest and the newest."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("mindspore", "pluggy", "omegaconf"))


def allowed(item: pytest.Item) -> set[str]:
    """The plugins that a test may use."""
    if item.get_closest_marker("together"):
        return set(PLUGINS)
    return {name for name, folder in PLUGINS.items() if folder in item.path.parents}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run a test, with its fixtures, in its room."""
    with room(allowed(item)):
        return (yield)


class Wall:
    """Refuses to import the packages of plugins that are not in the room."""

    def __init__(self, hidden: Collection[str]) -> None:
        self.hidden = hidden

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Refuse, or leave it to the others."""
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"this test must not need {name}", name=name)
        return None


@contextmanager
def room(plugins: set[str]) -> Iterator[None]:
    """Hide all bundled plugins but these, from discovery, from imports, and from the path of sub-processes."""
    from mindloom import discovery

    hidden = {f"mindloom_{name}" for name in PLUGINS.keys() - plugins}
    paths = [str(HERE / "core"), *(str(PLUGINS[name]) for name in sorted(plugins))]
    installed = discovery._installed
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as scratch:
        checkout = Path(scratch) / "plugins"
        checkout.mkdir()
        (checkout.parent / "setup.cfg").symlink_to(HERE / "setup.cfg")
        for name in plugins:
            (checkout / name).symlink_to(PLUGINS[name])
        for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
            patch.delitem(sys.modules, name)
        patch.setattr(sys, "meta_path", [Wall(hidden), *sys.meta_path])
        patch.setattr(discovery, "CHECKOUT", checkout)
        patch.setattr(discovery, "_installed", lambda: (f for f in installed() if f.name not in PLUGINS))
        patch.setenv("PYTHONPATH", os.pathsep.join([*paths, *filter(None, [BEFORE])]))
        yield
