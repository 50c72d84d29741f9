"""Whether a plugin's methods fit the hooks: names, arguments, and the mark that is easily forgotten."""

from __future__ import annotations

from inspect import signature

import pluggy

from .errors import UserError, unknown
from .hooks import HookSpecs
from .plugin import Plugin

HOOKS = {name: tuple(signature(spec).parameters)[1:] for name, spec in vars(HookSpecs).items() if name[0] != "_"}
"""Hook -> the arguments that it may take."""


def check(name: str, plugin: Plugin, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would accept and then never call, or call without what it asked for.

    Raises:
        UserError: an unknown hook or argument, an argument with a default, or a hook without ``@hookimpl``.
    """
    for method in dir(type(plugin)):
        options = manager.parse_hookimpl_opts(plugin, method)
        if options is not None:
            _check_arguments(name, plugin, method, options.get("specname") or method)
        elif method in HOOKS and callable(getattr(plugin, method)):  # a subclass may set one to None
            raise UserError(f"plugin {name!r} defines {method} without @hookimpl, so it would never be called")


def _check_arguments(name: str, plugin: Plugin, method: str, hook: str) -> None:
    if hook not in HOOKS:
        raise UserError(f"plugin {name!r} implements an unknown hook: " + unknown(f"hook {hook!r}", hook, HOOKS))
    for argument, parameter in signature(getattr(plugin, method)).parameters.items():
        if argument not in HOOKS[hook]:
            raise UserError(f"plugin {name!r}: " + unknown(f"argument {argument!r} of {hook}", argument, HOOKS[hook]))
        if parameter.default is not parameter.empty:
            # pluggy leaves arguments with defaults alone: the hook would only ever see the default.
            raise UserError(f"plugin {name!r}: the argument {argument!r} of {hook} must not have a default")
