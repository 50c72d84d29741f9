"""The enabled plugins: registered in order, their hooks called with blame, their contributions collected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pluggy

from . import signatures
from .blame import blaming
from .errors import UserError
from .hooks import HookSpecs
from .plugin import Plugin

CORE = "core"

Wrap = Callable[[str, pluggy.HookImpl], Callable[..., Any]]
"""(hook, implementation) -> the function that takes its place."""


def in_order(plugins: Mapping[str, Plugin]) -> list[str]:
    """Sort names so that ``before`` and ``after`` hold; otherwise the given order stays.

    Raises:
        UserError: the wishes form a circle.
    """
    given = list(plugins)
    earlier: dict[str, set[str]] = {name: set() for name in given}
    for name, plugin in plugins.items():
        for other in plugin.before:
            if other in earlier:
                earlier[other].add(name)
        earlier[name].update(other for other in plugin.after if other in earlier)
    sorter = TopologicalSorter(earlier)
    try:
        sorter.prepare()
    except CycleError as error:
        raise UserError(f"plugins want to run before each other: {' < '.join(error.args[1])}; switch one off") from None
    result: list[str] = []
    waiting: set[str] = set()
    while sorter.is_active():
        waiting.update(sorter.get_ready())
        nearest = min(waiting, key=given.index)
        waiting.remove(nearest)
        result.append(nearest)
        sorter.done(nearest)
    return result


class Registry:
    """Calls hooks on the enabled plugins: ``registry.call("on_step_end", run=run, result=result)``.

    pluggy calls the last registered implementation first, so registration runs backwards, and the core's own answers
    go in before everybody's::

        enabled:     a, b, c          (a shall be asked first)
        registered:  core, c, b, a
        called:      a, b, c, core

    Args:
        plugins: name -> plugin, in the order in which they were enabled.
        defaults: the core's own answers.
        strict: refuse two fillers of one slot; without it, ``rivals`` tells of them.
    """

    def __init__(self, plugins: Mapping[str, Plugin], defaults: object, strict: bool = True) -> None:
        self.plugins = {name: plugins[name] for name in in_order(plugins)}
        self.manager = pluggy.PluginManager("mindloom")
        self.manager.add_hookspecs(HookSpecs)
        self.manager.register(defaults, CORE)
        for name, plugin in reversed(self.plugins.items()):
            signatures.check(name, plugin, self.manager)
            self.manager.register(plugin, name)
        for rivalry in self.rivals() if strict else ():
            raise UserError(rivalry)

    def rivals(self) -> list[str]:
        """Say of every slot that several plugins fill who they are and what to do."""
        return [
            f"plugins {names[0]!r} and {names[1]!r} both fill {hook}: switch one off with --plugins no:{names[1]}"
            for hook in self.slots()
            if len(names := self.fillers(hook)) > 1
        ]

    def implementations(self) -> Iterator[tuple[str, pluggy.HookImpl]]:
        """Every hook with every implementation of it, the core's own too, first asked first."""
        for hook, caller in sorted(vars(self.manager.hook).items()):
            yield from ((hook, impl) for impl in reversed(caller.get_hookimpls()))

    def around(self, wrap: Wrap) -> None:
        """Put another function in the place of every implementation, such as one that measures it."""
        for hook, impl in self.implementations():
            setattr(impl, "function", wrap(hook, impl))  # noqa: B010  (typed as final; pluggy only ever reads it)

    def slots(self) -> list[str]:
        """Names of the hooks that take one answer."""
        return [
            name
            for name, caller in vars(self.manager.hook).items()
            if caller.has_spec() and caller.spec.opts.get("firstresult")
        ]

    def fillers(self, hook: str, wrappers: bool = False) -> list[str]:
        """Names of the enabled plugins that implement a hook (or wrap it), first asked first."""
        impls = reversed(getattr(self.manager.hook, hook).get_hookimpls())
        return [i.plugin_name for i in impls if i.plugin_name != CORE and (i.wrapper or i.hookwrapper) == wrappers]

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook on every enabled plugin, or until one answers for a slot."""
        with blaming(self.plugins, hook):
            return getattr(self.manager.hook, hook)(**arguments)

    def call_ranked(self, hook: str, is_main: bool, **arguments: Any) -> None:
        """Call a hook on those plugins only that want to hear of it on this process."""
        deaf = [p for p in self.plugins.values() if not is_main and p.ranks != "all"]
        with blaming(self.plugins, hook):
            self.manager.subset_hook_caller(hook, deaf)(**arguments)

    def collect(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Ask every plugin by itself and return (name, answer), so that answers have owners. The core comes last."""
        everyone = dict(self.manager.list_name_plugin())
        answers = []
        for name in [*self.plugins, CORE]:
            others = [plugin for other, plugin in everyone.items() if other != name]
            with blaming(self.plugins, hook):
                answers += [(name, a) for a in self.manager.subset_hook_caller(hook, others)(**arguments)]
        return answers

    def merge(self, hook: str, what: str) -> dict[str, Any]:
        """Collect dicts into one.

        Raises:
            UserError: two plugins offer the same name.
        """
        merged: dict[str, Any] = {}
        owners: dict[str, str] = {}
        for owner, offers in self.collect(hook):
            for name, value in offers.items():
                if name in merged:
                    raise UserError(
                        f"plugins {owners[name]!r} and {owner!r} both offer the {what} {name!r}: "
                        f"switch one off with --plugins no:{owner}"
                    )
                merged[name], owners[name] = value, owner
        return merged

    def tell(self, hook: str, log: logging.Logger, **arguments: Any) -> None:
        """Call a hook on every plugin although some may fail in it, because the run already fails."""
        for name, plugin in self.plugins.items():
            others = [other for other in self.plugins.values() if other is not plugin]
            try:
                self.manager.subset_hook_caller(hook, others)(**arguments)
            except Exception as error:
                log.error("plugin %r failed in %s: %s: %s", name, hook, type(error).__name__, error)

    def close(self, log: logging.Logger) -> list[Exception]:
        """Close every plugin, the last opened first; errors are logged and collected, never hidden."""
        errors: list[Exception] = []
        for name, plugin in reversed(self.plugins.items()):
            try:
                plugin.close()
            except Exception as error:
                log.error("plugin %r failed in close: %s: %s", name, type(error).__name__, error)
                errors.append(error)
        return errors
