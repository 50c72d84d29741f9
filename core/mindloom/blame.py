"""Naming the plugin that an error comes from.

An error may surface in a hook call, much later in a generator or cell that a plugin returned, or as a compile error of
MindSpore that only mentions a file in its text. The innermost place that belongs to a plugin takes the blame.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .errors import TrainingError, UserError
from .plugin import Plugin


class PluginError(TrainingError):
    """A plugin failed. Its cause is the original error."""

    def __init__(self, plugin: str, where: str, error: BaseException) -> None:
        reason = " ".join(str(error).split()) or "no message"
        super().__init__(f"plugin {plugin!r} failed in {where}: {type(error).__name__}: {_shorten(reason)}")
        self.plugin, self.where = plugin, where


def _shorten(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def place(plugin: Plugin) -> str:
    """Where a plugin's code lives: the folder of its package, or its file."""
    file = inspect.getsourcefile(type(plugin)) or ""
    package = type(plugin).__module__.partition(".")[0]
    inside = Path(file).parent
    while inside.name and inside.name != package:
        inside = inside.parent
    return str(inside) + "/" if inside.name else file


def culprit(error: BaseException, plugins: Mapping[str, Plugin]) -> str | None:
    """Name the plugin whose code is innermost in the error's traceback, or whose file its text mentions."""
    places = {name: place(plugin) for name, plugin in plugins.items()}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        receiver = frame.f_locals.get("self")
        for name, plugin in plugins.items():
            if receiver is plugin:
                return name
        for name, where in places.items():
            if where and frame.f_code.co_filename.startswith(where):
                return name
    text = str(error)
    return next((name for name, where in places.items() if where and where in text), None)


@contextmanager
def blaming(plugins: Mapping[str, Plugin], where: str) -> Iterator[None]:
    """Turn an error that a plugin caused into a ``PluginError`` naming it; let the others pass."""
    try:
        yield
    except (UserError, TrainingError):
        raise
    except Exception as error:
        name = culprit(error, plugins)
        if name is None:
            raise
        raise PluginError(name, where, error) from error
