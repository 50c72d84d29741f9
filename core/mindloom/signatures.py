"""Whether a plugin's methods fit the hooks: names, arguments, and the marks that are easily forgotten."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isgeneratorfunction, signature
from typing import Any

import pluggy

from . import compat
from .errors import UserError, unknown
from .hooks import HookSpecs
from .plugin import Plugin

HOOKS = {name: tuple(signature(spec).parameters)[1:] for name, spec in vars(HookSpecs).items() if name[0] != "_"}
"""Hook -> the arguments that it may take."""


def check(name: str, plugin: Plugin, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would accept and then never call, or call without what it asked for.

    Raises:
        UserError: an unknown hook or argument, an argument with a default, a hook without ``@hookimpl``, or a ``yield``
            where it does not belong or where one is missing.
    """
    for method in dir(type(plugin)):
        # As it is written: the registry's own manager translates old names.
        options = pluggy.PluginManager.parse_hookimpl_opts(manager, plugin, method)
        if options is not None:
            hook = compat.hook_of(name, options.get("specname") or method)
            if hook not in HOOKS:
                raise UserError(
                    f"plugin {name!r} implements an unknown hook: " + unknown(f"hook {hook!r}", hook, HOOKS)
                )
            function = getattr(plugin, method)
            _check_arguments(name, function, hook)
            _check_yield(name, function, hook, options)
        elif method in HOOKS and callable(getattr(plugin, method)):  # a subclass may set one to None
            raise UserError(
                f"plugin {name!r} defines {method} without @hookimpl, so it would never be called: write @hookimpl "
                "above it"
            )


def _check_arguments(name: str, function: Callable[..., Any], hook: str) -> None:
    parameters = signature(function).parameters
    for written, parameter in parameters.items():
        argument = compat.argument_of(name, hook, written)
        if argument not in HOOKS[hook]:
            raise UserError(f"plugin {name!r}: " + unknown(f"argument {argument!r} of {hook}", argument, HOOKS[hook]))
        if parameter.default is not parameter.empty:
            # pluggy leaves arguments with defaults alone: the hook would only ever see the default.
            wanted = ", ".join(["self", *parameters])
            raise UserError(
                f"plugin {name!r}: the argument {argument!r} of {hook} must not have a default: write {hook}({wanted})"
            )


def _check_yield(name: str, function: Callable[..., Any], hook: str, options: Any) -> None:
    yields, advice = isgeneratorfunction(function), "answer = yield, then return answer"
    if options["hookwrapper"]:
        raise UserError(f"plugin {name!r} wraps {hook} in the old way: write @hookimpl(wrapper=True) and {advice}")
    if options["wrapper"] and not yields:
        raise UserError(f"plugin {name!r} wraps {hook} without a yield: write {advice}, or a plain @hookimpl")
    if yields and not options["wrapper"] and "Iterator" not in str(getattr(HookSpecs, hook).__annotations__["return"]):
        raise UserError(
            f"plugin {name!r}: {hook} has a yield, so nothing in it would ever run: return instead, or write "
            "@hookimpl(wrapper=True) to wrap the others"
        )
