"""Which hooks were called in a run, in order: so that a test may say "it asked for a checkpoint, and one came"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pluggy

from ..registry import Registry


@dataclass(frozen=True)
class Call:
    """One call of one implementation of a hook.

    Attributes:
        plugin: whose it is; ``core`` for the core's own answers.
        hook: its name.
        arguments: names of the arguments that it asked for.
        n: ``result.n``, if it asked for ``result``; otherwise 0.
    """

    plugin: str
    hook: str
    arguments: tuple[str, ...] = ()
    n: int = 0


def listen(registry: Registry) -> list[Call]:
    """Return a list that every call is added to from now on; it begins with ``on_configure``, which has been called."""
    calls = [
        Call(impl.plugin_name, hook, tuple(impl.argnames))
        for hook, impl in registry.implementations()
        if hook == "on_configure"
    ]

    def wrap(hook: str, impl: pluggy.HookImpl) -> Callable[..., Any]:
        function, names = impl.function, tuple(impl.argnames)

        def noted(*values: Any) -> Any:
            result = dict(zip(names, values, strict=True)).get("result")
            calls.append(Call(impl.plugin_name, hook, names, getattr(result, "n", 0)))
            return function(*values)

        return noted

    registry.around(wrap)
    return calls
