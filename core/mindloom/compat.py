"""Old names of hooks and of their arguments: what still works, and until which version of the hooks.

A rename leaves the new name alone in ``hooks.py`` and an entry here; the entry goes when ``api.OLDEST_API`` reaches
``removed``, and until ``api.API`` does, plugins that use the old name work and are told of it in one line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pluggy

from . import api
from .errors import UserError

LOG = logging.getLogger("mindloom")


class Renamed(NamedTuple):
    """What became of an old name.

    Attributes:
        new: the name that holds now.
        removed: the first version of the hooks (``mindloom.api.API``) that refuses the old name.
    """

    new: str
    removed: int


HOOKS: dict[str, Renamed] = {}
"""Old hook -> its name now."""
ARGUMENTS: dict[tuple[str, str], Renamed] = {}
"""(hook by its name now, old argument) -> the argument's name now."""


def hook_of(plugin: str, written: str) -> str:
    """The name that a hook has now; an old one is told of.

    Raises:
        UserError: the old name is gone.
    """
    if written not in HOOKS:
        return written
    _tell(plugin, f"the hook {written}", HOOKS[written])
    return HOOKS[written].new


def argument_of(plugin: str, hook: str, written: str) -> str:
    """The name that an argument has now; an old one is told of.

    Raises:
        UserError: the old name is gone.
    """
    if (hook, written) not in ARGUMENTS:
        return written
    _tell(plugin, f"the argument {written} of {hook}", ARGUMENTS[hook, written])
    return ARGUMENTS[hook, written].new


def _tell(plugin: str, what: str, renamed: Renamed) -> None:
    if renamed.removed <= api.API:
        raise UserError(f"plugin {plugin!r} uses {what}, which is now {renamed.new}: rename it there")
    LOG.warning(
        "plugin %r uses %s, which is now %s: rename it there; the old name works until version %d of the hooks",
        plugin, what, renamed.new, renamed.removed,
    )  # fmt: skip


class Manager(pluggy.PluginManager):
    """Registers plugins that use old names as if they used the new ones, so that calls know of new names only."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Point an old hook's implementation to the hook of today."""
        options = super().parse_hookimpl_opts(plugin, name)
        renamed = HOOKS.get((options.get("specname") or name) if options else "")
        return {**options, "specname": renamed.new} if options and renamed else options

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register, and have what is called by an old name passed the value of the new one."""
        with self._accepting_old_arguments():
            registered = super().register(plugin, name)
        for hook in {hook for hook, _ in ARGUMENTS}:
            for impl in getattr(self.hook, hook).get_hookimpls():
                # pluggy looks arguments up by these names and passes them by position.
                now = (ARGUMENTS[hook, a].new if (hook, a) in ARGUMENTS else a for a in impl.argnames)
                _replace(impl, "argnames", tuple(now))
        return registered

    @contextmanager
    def _accepting_old_arguments(self) -> Iterator[None]:
        specs = {hook: getattr(self.hook, hook).spec for hook, _ in ARGUMENTS}
        before = {hook: spec.argnames for hook, spec in specs.items()}
        for hook, old in ARGUMENTS:
            _replace(specs[hook], "argnames", (*specs[hook].argnames, old))
        try:
            yield
        finally:
            for hook, spec in specs.items():
                _replace(spec, "argnames", before[hook])


def _replace(holder: Any, attribute: str, value: Any) -> None:
    setattr(holder, attribute, value)  # typed as final by pluggy, which only ever reads it
