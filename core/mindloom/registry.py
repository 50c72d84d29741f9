"""The enabled plugins: registered in order, their hooks called with blame, their contributions collected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import pluggy

from . import compat, signatures
from .blame import blamed, blaming
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
    try:
        return arrange(list(plugins), wishes(plugins))
    except CycleError as error:
        raise UserError(circle(error.args[1], plugins)) from None


def wishes(plugins: Mapping[str, Plugin]) -> dict[str, set[str]]:
    """Name -> those that shall come before it, by its own wish or by theirs.

    Raises:
        UserError: a wish is no tuple of names.
    """
    earlier: dict[str, set[str]] = {name: set() for name in plugins}
    for name, plugin in plugins.items():
        for wish in ("before", "after"):
            said = getattr(plugin, wish)
            if isinstance(said, str):
                raise UserError(f"plugin {name!r}: {wish} must be a tuple: write {wish} = ({said!r},)")
            if not (isinstance(said, tuple | list | set | frozenset) and all(isinstance(other, str) for other in said)):
                raise UserError(f"plugin {name!r}: {wish} must be a tuple of plugins' names: write {wish} = ('name',)")
        for other in plugin.before:
            if other in earlier:
                earlier[other].add(name)
        earlier[name].update(other for other in plugin.after if other in earlier)
    return earlier


def circle(names: Sequence[str], plugins: Mapping[str, Plugin]) -> str:
    """Say who waits for whom and whose wishes these are, and what to do.

    Args:
        names: each shall come before the next one; the first is the last, too.
        plugins: by name.
    """
    said = [
        f"{one!r} says before {other!r}" if other in plugins[one].before else f"{other!r} says after {one!r}"
        for one, other in pairwise(names)
    ]
    return (
        f"plugins want to run before each other: {' < '.join(names)} ({', '.join(said)}): "
        f"switch one off with --plugins no:{names[-2]}"
    )


def arrange(given: Sequence[str], earlier: Mapping[str, set[str]]) -> list[str]:
    """Sort names behind those that shall come before them, and otherwise leave them where they are.

    Raises:
        CycleError: some wait for each other.
    """
    sorter = TopologicalSorter(earlier)
    sorter.prepare()
    result: list[str] = []
    waiting: set[str] = set()
    while sorter.is_active():
        waiting.update(sorter.get_ready())
        nearest = min(waiting, key=given.index)
        waiting.remove(nearest)
        result.append(nearest)
        sorter.done(nearest)
    return result


def clashes(answers: Iterable[tuple[str, Mapping[str, Any]]], what: str) -> Iterator[str]:
    """Say of every name that several plugins offer who they are and what to do."""
    owners: dict[str, str] = {}
    for owner, offers in answers:
        for name in offers:
            if owners.setdefault(name, owner) != owner:
                yield (
                    f"plugins {owners[name]!r} and {owner!r} both offer the {what} {name!r}: "
                    f"switch one off with --plugins no:{owner}"
                )


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
        self.manager = compat.Manager("mindloom")
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
            f"plugins {first!r} and {other!r} both fill {hook}: switch one off with --plugins no:{other}"
            for hook in self.slots()
            for first, *others in [self.fillers(hook) or [CORE]]
            for other in others
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
        able = {impl.plugin_name for impl in getattr(self.manager.hook, hook).get_hookimpls()}
        return [(name, a) for name in [*self.plugins, CORE] if name in able for a in self.ask(name, hook, **arguments)]

    def ask(self, name: str, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook on one plugin, or on the core, and on nobody else."""
        others = [plugin for other, plugin in self.manager.list_name_plugin() if other != name]
        with blaming(self.plugins, hook):
            answers: list[Any] = self.manager.subset_hook_caller(hook, others)(**arguments)
            return answers

    def merge(self, hook: str, what: str) -> dict[str, Any]:
        """Collect dicts into one.

        Raises:
            UserError: two plugins offer the same name.
        """
        return {name: value for name, (_, value) in self.offers(hook, what).items()}

    def offers(self, hook: str, what: str) -> dict[str, tuple[str, Any]]:
        """Collect dicts into one: name -> (the plugin that offers it, what it offers).

        Raises:
            UserError: two plugins offer the same name.
        """
        answers = self.collect(hook)
        for clash in clashes(answers, what):
            raise UserError(clash)
        return {name: (owner, value) for owner, offers in answers for name, value in offers.items()}

    def tell(self, hook: str, log: logging.Logger, **arguments: Any) -> None:
        """Call a hook on every plugin although some may fail in it, because the run already fails."""
        for name, plugin in self.plugins.items():
            others = [other for other in self.plugins.values() if other is not plugin]
            try:
                self.manager.subset_hook_caller(hook, others)(**arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                log.error("plugin %r failed in %s: %s: %s", name, hook, type(error).__name__, error)

    def close(self, log: logging.Logger) -> list[Exception]:
        """Close every plugin, the last opened first; errors are logged and collected, never hidden."""
        return close(self.plugins, log)


def close(plugins: dict[str, Plugin], log: logging.Logger) -> list[Exception]:
    """Close plugins, the last opened first; errors are logged and collected, never hidden."""
    errors: list[Exception] = []
    for name, plugin in reversed(plugins.items()):
        try:
            plugin.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            errors.append(blamed(error, name, type(plugin), "close"))
            log.error("%s", errors[-1])
    return errors
