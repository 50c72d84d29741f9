"""Failing on purpose: a plugin that breaks in a hook, and arguments that break in the hands of whoever touches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pluggy

from ..plugin import Plugin, hookimpl
from ..registry import Registry

REACHED = (
    *("on_step_start", "make_task", "on_step_end", "on_log", "on_train_start", "add_formats", "edit_model"),
    *("make_precision", "make_schedule", "make_optimizer", "make_reducer", "add_grad_ops", "make_step", "make_stepper"),
    *("make_dataset", "make_checkpointer", "make_world", "make_device"),
    *("on_checkpoint", "on_train_end", "add_metrics", "on_configure"),
)
"""Hooks that every run with checkpoints reaches, those first that come soon and leave something to clean up."""


class PlantedError(RuntimeError):
    """What nobody but the contract raises."""

    def __init__(self) -> None:
        super().__init__("planted by the contract")


class Trap:
    """Stands for any argument of a hook: using it raises ``PlantedError``, and it remembers that it was used."""

    def _spring(self, *values: Any, **named: Any) -> Any:
        object.__setattr__(self, "sprung", True)
        raise PlantedError

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":  # asked by isinstance, which is no use
            return Trap
        return Trap._spring(self)

    __setattr__ = __call__ = __iter__ = __len__ = __getitem__ = __setitem__ = _spring
    __contains__ = __bool__ = __fspath__ = __str__ = __float__ = __int__ = _spring


def sprung(trap: Trap) -> bool:
    """Whether anybody used it."""
    return "sprung" in object.__getattribute__(trap, "__dict__")


def implemented(plugin: Plugin) -> dict[str, pluggy.HookImpl]:
    """The hooks that a plugin implements.

    Raises:
        UserError: one of them is none, or takes arguments that it does not have.
    """
    return {hook: impl for hook, impl in alone(plugin).implementations() if impl.plugin is plugin}


def alone(plugin: Plugin) -> Registry:
    """A registry of one plugin, where not even the core answers."""
    return Registry({plugin.name: plugin}, object())


def fails(self: Plugin) -> None:
    """A hook that fails."""
    raise PlantedError


def fails_as_wrapper(self: Plugin) -> Iterator[None]:
    """A wrapper that fails."""
    raise PlantedError
    yield


def broken(kind: type[Plugin], impl: pluggy.HookImpl) -> type[Plugin]:
    """A subclass that fails in one hook, in the plugin's own file as far as blame can tell."""
    wraps = impl.wrapper or impl.hookwrapper
    body = copied(fails_as_wrapper if wraps else fails)
    return type(
        kind.__name__, (kind,), {"__module__": kind.__module__, impl.function.__name__: hookimpl(**impl.opts)(body)}
    )


def failing_inside(hook: str) -> type[Plugin]:
    """A plugin that fails in what others wrap; it wraps too, so that it is nobody's rival."""
    return type("Other", (Plugin,), {hook: hookimpl(wrapper=True)(copied(fails_as_wrapper))})


def copied(function: Callable[[Plugin], Any]) -> Callable[[Plugin], Any]:
    """The same function, to be marked by itself."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__, function.__globals__, function.__name__)
