"""Which hooks a plugin's class implements, and what it does in each, told without making the plugin."""

from __future__ import annotations

from dataclasses import dataclass

from .. import signatures
from ..defaults import Defaults
from ..plugin import Plugin
from ..registry import Registry

KINDS = {"make": "fills", "add": "contributes", "edit": "edits", "on": "observes"}
"""Verb of a hook -> what its implementations do."""

WRAPS = "wraps"


@dataclass(frozen=True)
class Role:
    """One implementation of a hook."""

    hook: str
    kind: str


def roles(name: str, found: type[Plugin]) -> list[Role]:
    """Every hook that the class implements, in the order of a run.

    Raises:
        UserError: its methods do not fit the hooks, as when it is enabled.
    """
    registry = Registry({name: unmade(name, found)}, Defaults(), strict=False)
    implemented = {hook: impl.wrapper for hook, impl in registry.implementations() if impl.plugin_name == name}
    return [
        Role(hook, WRAPS if implemented[hook] else KINDS[hook.partition("_")[0]])
        for hook in signatures.HOOKS
        if hook in implemented
    ]


def fills(name: str, found: type[Plugin]) -> set[str]:
    """The slots for which the class has an answer.

    Raises:
        UserError: as ``roles``.
    """
    return {role.hook for role in roles(name, found) if role.kind == KINDS["make"]}


def unmade(name: str, found: type[Plugin]) -> Plugin:
    """An instance whose constructor never ran, so that it needs no settings: good for looking at its hooks only."""
    plugin = found.__new__(found)
    plugin.name = name
    return plugin
