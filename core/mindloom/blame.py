"""Naming the plugin that an error comes from.

An error may surface in a hook call, much later in a generator or cell that a plugin returned, or as a compile error of
MindSpore that only mentions files in its text. The innermost place that belongs to a plugin takes the blame.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .defaults import Defaults
from .errors import TrainingError, UserError
from .plugin import Plugin

COMPILED_AT = re.compile(r"In file (.+?):(\d+)")
"""How MindSpore's compiler writes the places of an error."""
FILE = "mindloom_file_"
"""How the module of a plugin that is a single file begins."""
NEEDED = ("make_task", "add_formats")
"""A run hardly goes on without the plugin that implements one of these."""


RUNNING = (
    "on_resume", "on_train_start", "on_step_start", "on_step_end", "add_metrics", "on_log", "on_checkpoint",
    "on_train_end",
)  # fmt: skip
"""Hooks that run when settings are long accepted: who refuses something there is not plain from its message."""


class PluginError(TrainingError):
    """A plugin failed. Its cause is the original error; its notes tell where, and what to do."""

    def __init__(self, plugin: str, where: str, error: BaseException) -> None:
        super().__init__(f"plugin {plugin!r} failed in {where}: {summary(error)}")
        self.plugin, self.where = plugin, where


def summary(error: BaseException) -> str:
    """One line: the kind of error, its message without MindSpore's appendices, and where the compiler met it."""
    if not isinstance(error, Exception):
        return f"it raised {_shorten(' '.join(repr(error).split()))}"
    places = compiled_at(error)
    parts = (" ".join(part.split()) for part in re.split(r"\n-{9,}", str(error)))
    reason = next((part for part in parts if part and not part.startswith("- ")), "no message")
    at = " ({}, line {})".format(*places[-1]) if places else ""
    return f"{type(error).__name__}: {_shorten(reason)}{at}"


def compiled_at(error: BaseException) -> list[tuple[str, str]]:
    """File and line of every place that a compile error mentions, outermost first."""
    places = COMPILED_AT.findall(str(error))
    return places[::-1] if "Kernel select failed" in str(error) else places


def _shorten(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def blamed(error: BaseException, name: str, kind: type[Plugin] | None, where: str, line: str = "") -> PluginError:
    """The error as that of a plugin, with the place in its code, and what to do.

    Args:
        error: the cause.
        name: of the plugin.
        kind: its class; None if what failed is not the plugin itself, but a command that came with it.
        where: what the core had asked of it.
        line: to name, where no traceback shows it.
    """
    failed = PluginError(name, where, error)
    failed.__cause__ = error
    if isinstance(error, SystemExit) and where.startswith(("on_", "the ")) and where != "on_configure":
        failed.add_note("to end a run in order: run.stop(reason)")
    if line := line or ("" if compiled_at(error) else last_line(error, kind)):
        failed.add_note(line)
    if missing := missing_package(error, kind.__module__ if kind else ""):
        failed.add_note(remedy(missing, kind.__module__ if kind else ""))
    if kind and not any(getattr(kind, hook, None) for hook in NEEDED):
        failed.add_note(f"without it: --plugins no:{name}")
    return failed


def last_line(error: BaseException, kind: type[Plugin] | None) -> str:
    """File and line of the innermost place in a plugin's code that an error came through; empty if there is none."""
    own = _place(kind) if kind else ""
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if kind is None
        or (own and frame.f_code.co_filename.startswith(own))
        or isinstance(frame.f_locals.get("self"), kind)
    ]
    return at(*lines[-1]) if lines else ""


def at(file: str, line: int) -> str:
    """A place in a file, the file as one would type it from here."""
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}, line {line}"


def missing_package(error: BaseException, module: str) -> str:
    """The package to install, when that is what an error in a module is about; empty otherwise."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    return "" if package in (module.partition(".")[0], "mindloom") else package


def remedy(missing: str, module: str) -> str:
    """What to do about a package that a plugin's module cannot import; the module may be a single file."""
    file = getattr(sys.modules.get(module), "__file__", None) if module.startswith(FILE) else None
    beside = Path(file).resolve().parent / missing if file else None
    if beside and (any(beside.glob("*.py")) or beside.with_name(f"{missing}.py").is_file()):
        return "a plugin file cannot import its neighbours: make a distribution with: mindloom plugins new"
    return f"pip install {missing}, if that is the package's name"


def place(plugin: Plugin) -> str:
    """Where a plugin's code lives: the folder of its package, or its file."""
    return _place(type(plugin))


def _place(kind: type[Plugin]) -> str:
    module = kind.__module__
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    package = module.partition(".")[0]
    inside = Path(file).parent
    while inside.name and inside.name != package:
        inside = inside.parent
    # The plugins of the test kit live in the core's own package: their file only, or the core's errors were theirs.
    own = package == __name__.partition(".")[0]
    return f"{inside}/" if inside.name and not own else file


def culprit(error: BaseException, plugins: Mapping[str, Plugin]) -> tuple[str, str] | None:
    """Name the plugin to blame and its function that the core had called, or None when no plugin is involved.

    A compile error belongs to the innermost cell that its text mentions: Python's traceback only shows who drives the
    step. Any other error belongs to the innermost frame; where that is one of the core's own answers, or below it, the
    plugins further out only wrap the slot, and are innocent.
    """
    places = {name: where for name, plugin in plugins.items() if (where := place(plugin))}
    for file, _ in reversed(compiled_at(error)):
        for name, where in places.items():
            if file.startswith(where):
                return name, "a cell"
    owners: list[tuple[str | None, FrameType]] = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if isinstance(frame.f_locals.get("self"), Defaults):
            owners.clear()
        owners.append((_owner(frame, plugins, places), frame))
    innermost = next((owner for owner, _ in reversed(owners) if owner), None)
    if innermost is None:
        return None
    return innermost, next(frame.f_code.co_name for owner, frame in owners if owner == innermost)


def _owner(frame: FrameType, plugins: Mapping[str, Plugin], places: Mapping[str, str]) -> str | None:
    receiver = frame.f_locals.get("self")
    for name, plugin in plugins.items():
        if receiver is plugin:
            return name
    return next((name for name, where in places.items() if frame.f_code.co_filename.startswith(where)), None)


@contextmanager
def blaming(plugins: Mapping[str, Plugin], where: str = "") -> Iterator[None]:
    """Turn an error that a plugin caused into a ``PluginError`` naming it; let the others pass.

    Args:
        plugins: the suspects.
        where: what was going on; empty for the name of the plugin's function that the core had called.
    """
    try:
        yield
    except UserError as error:
        if error.setting or not (where in RUNNING or not str(error)):
            raise
        found = culprit(error, plugins)
        if found and repr(found[0]) not in str(error) and not hasattr(error, "__notes__"):
            error.add_note(f"plugin {found[0]!r}, {where or found[1]}")
        raise
    except (TrainingError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a sys.exit() in a plugin must not pass for success
        found = culprit(error, plugins)
        if found is None:
            raise
        name, function = found
        raise blamed(error, name, type(plugins[name]), where or function) from error
