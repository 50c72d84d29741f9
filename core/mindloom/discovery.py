"""Finding plugins by name, and what they bring to the command line, without importing any of them.

A plugin is an entry point in the group ``mindloom.plugins``. Beside it, its distribution may declare::

    mindloom.flags       flag = plugin  or  plugin:setting
    mindloom.formats     dataset format = plugin
    mindloom.commands    sub-command = module:function, called with the arguments behind its name, returns the exit code
    mindloom.measures    measure of captions = module:function (see ``survey/measures.py``)
    mindloom.api         plugin = version of the hooks that it is written for (see ``api.py``); 1 if it does not say

Installed distributions declare these in their metadata; in a bare checkout the same declarations are read from its
``setup.cfg`` and ``plugins/*/setup.cfg``, so nothing needs to be installed there.
"""

from __future__ import annotations

import configparser
import dataclasses
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__, api, blame
from .errors import UserError, unknown
from .plugin import Plugin

GROUP = "mindloom.plugins"
API_GROUP = "mindloom.api"
BROUGHT = ("flags", "formats", "commands", "measures")
CHECKOUT = Path(__file__).resolve().parents[2] / "plugins"


Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Found:
    """A plugin that could be enabled.

    Attributes:
        name: what ``--plugins`` calls it.
        target: ``module:Class``.
        version: of its distribution.
        summary: one line of what it does.
        where: ``"checkout"``, the name of the distribution, or a file.
        root: folder to add to the import path first, or empty.
        flags: command-line flag -> ``name`` (switches it on and off) or ``name:setting``.
        formats: dataset formats that it offers -> its name.
        commands, measures: name -> ``module:function``.
        api: version of the hooks that it is written for, as it is declared.
        distribution: name of its distribution, if it has one.
        requires: requirements of its distribution, each as pip takes it.
    """

    name: str
    target: str
    version: str
    summary: str
    where: str
    root: str = ""
    flags: Pairs = ()
    formats: Pairs = ()
    commands: Pairs = ()
    measures: Pairs = ()
    api: object = 1
    distribution: str = ""
    requires: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where from, for messages: its distribution with the version, the checkout, or a file."""
        return f"{self.where} {self.version}".strip() if self.where == self.distribution else self.where

    def load(self) -> type[Plugin]:
        """Import the plugin's class.

        Raises:
            UserError: it is written for another version of the core, cannot be imported, or there is no such class.
        """
        api.check(self, __version__)
        found = self.attribute(self.target)
        if not (inspect.isclass(found) and issubclass(found, Plugin)):
            raise UserError(f"plugin {self.name!r} ({self.where}): {self.target} is not a mindloom.Plugin class")
        api.check_version(self.name, self.origin, found.api)
        _check_name(self.name, found)
        return found

    def function(self, target: str) -> Callable[..., Any]:
        """Import something that can be called, such as a sub-command, from the plugin's distribution.

        Raises:
            UserError: the module cannot be imported or holds no such function.
        """
        found = self.attribute(target)
        if not callable(found):
            raise UserError(f"plugin {self.name!r} ({self.where}): {target} is not a function")
        return found

    def attribute(self, target: str) -> Any:
        """Import ``module:attribute``; None if the module has no such attribute."""
        if self.root and self.root not in sys.path:
            sys.path.insert(0, self.root)
        module_name, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute, None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a sys.exit() there must not pass for success
            missing = blame.missing_package(error, module_name)
            needs = f"needs the package {missing!r}: {blame.remedy(missing, module_name)}"
            raise UserError(f"plugin {self.name!r} ({self.where}) {needs if missing else _failed(error)}") from error


def discover() -> dict[str, Found]:
    """Look up every plugin there is. The checkout wins over an installed distribution of the same plugin."""
    return {found.name: found for found in [*_installed(), *_checkout(CHECKOUT)]}


def _installed() -> Iterator[Found]:
    for point in metadata.entry_points(group=GROUP):
        about = point.dist
        if about is None:
            yield Found(point.name, point.value, "", "", "")
            continue
        groups: dict[str, list[tuple[str, str]]] = {}
        for other in about.entry_points:
            groups.setdefault(other.group, []).append((other.name, other.value))
        summary = about.metadata["Summary"] or ""
        brought = _brought(point.name, groups)
        requires = tuple(about.requires or ())
        yield Found(
            point.name,
            point.value,
            about.version,
            summary,
            about.name,
            "",
            **brought,
            distribution=about.name,
            requires=requires,
        )


def _checkout(folder: Path) -> Iterator[Found]:
    for path in [folder.parent / "setup.cfg", *sorted(folder.glob("*/setup.cfg"))]:
        parser = configparser.RawConfigParser()  # a "%" in a description is a "%"
        parser.read(path, encoding="utf-8")
        if not parser.has_option("options.entry_points", GROUP):
            continue
        about = parser["metadata"]
        groups = {group: list(_pairs(lines)) for group, lines in parser["options.entry_points"].items()}
        version, summary = about.get("version", ""), about.get("description", "")
        options = parser["options"] if parser.has_section("options") else {}
        requires = tuple(_lines(options.get("install_requires", "")))
        for name, target in groups[GROUP]:
            brought = _brought(name, groups)
            yield Found(
                name,
                target,
                version,
                summary,
                "checkout",
                str(path.parent),
                **brought,
                distribution=about.get("name", ""),
                requires=requires,
            )


def _brought(plugin: str, groups: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, Any]:
    """What a plugin brings beside itself; a distribution's formats may belong to several plugins."""
    brought: dict[str, Any] = {kind: tuple(groups.get(f"mindloom.{kind}", ())) for kind in BROUGHT}
    brought["formats"] = tuple(pair for pair in brought["formats"] if pair[1] == plugin)
    declared = dict(groups.get(API_GROUP, ())).get(plugin, "1")
    brought["api"] = int(declared) if declared.isdecimal() else declared
    return brought


def _lines(text: str) -> Iterator[str]:
    """Lines that are not empty and no comments."""
    yield from (line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#"))


def _pairs(lines: str) -> Iterator[tuple[str, str]]:
    for line in _lines(lines):
        name, _, target = line.partition("=")
        yield name.strip(), target.strip()


def find(name: str, available: dict[str, Found], origin: str = "command line") -> Found:
    """Look a plugin up.

    Args:
        name: of the plugin.
        available: every plugin there is.
        origin: where it was switched on: a config file cannot name a plugin's file, a run's saved one neither.

    Raises:
        UserError: there is none of that name; the nearest one is suggested.
    """
    if name not in available:
        raise UserError(
            f"{unknown(f'plugin {name!r}', name, available)} (see: mindloom plugins list{_as_file(name, origin)})",
            setting=f"plugins.{name}",
        )
    return available[name]


def _as_file(name: str, origin: str) -> str:
    by_hand = origin in ("command line", "flag")
    likely = name.isidentifier() and (not by_hand or Path(f"{name}.py").is_file())
    return f"; if it is a file, add --plugins ./{name}.py" if likely else ""


def load_file(path: Path) -> tuple[str, type[Plugin]]:
    """Load the one plugin that a Python file holds; its name is the file's.

    Raises:
        UserError: the file is missing, is written for another version of the core, fails to import, or holds no or
            several plugins.
    """
    if not path.is_file():
        raise UserError(f"plugin file {path} does not exist")
    if "." in path.stem:
        raise UserError(f"plugin file {path} has a dot in its name, which settings cannot say: rename it")
    if path.stem == "core":
        raise UserError(f"plugin file {path}: {path.stem!r} is what the core itself is called: rename it")
    for written in api.written(path):
        api.check_version(path.stem, str(path), written)
    module = _import_file(path)
    classes = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Plugin)]
    own = [c for c in classes if c.__module__ == module.__name__]
    if len(own) != 1:
        raise UserError(f"plugin file {path} must hold exactly one subclass of mindloom.Plugin, not {len(own)}")
    api.check_version(path.stem, str(path), own[0].api)
    _check_name(path.stem, own[0])
    return path.stem, own[0]


def _check_name(name: str, found: type[Plugin]) -> None:
    if not isinstance(inspect.getattr_static(found, "name"), str):
        raise UserError(
            f"plugin {name!r}: the core sets its name when it is enabled: call what {found.__name__} "
            "defines as name something else"
        )


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{blame.FILE}{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a sys.exit() there must not pass for success
        missing = blame.missing_package(error, spec.name)
        remedy = f": {blame.remedy(missing, spec.name)}" if missing else ""
        raise UserError(f"plugin file {path} {_failed(error)}{remedy}") from error
    return module


def _failed(error: BaseException) -> str:
    """Say why something cannot be imported, and in which line: of what was imported, not of the machinery for it."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    # The first one is the core's; one in dataclasses is about a class that is written elsewhere.
    written = [place for place in frames[1:] if not place[0].startswith(("<frozen", dataclasses.__file__))]
    line = "" if isinstance(error, SyntaxError) or not written else f" ({blame.at(*written[-1])})"
    return f"cannot be imported: {blame.summary(error)}{line}"
