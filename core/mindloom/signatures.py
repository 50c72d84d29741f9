"""Whether a plugin's methods fit the hooks: names, arguments, and the marks that are easily forgotten."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getattr_static, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, isroutine, signature
from typing import Any

import pluggy

from . import compat
from .errors import UserError, unknown
from .hooks import HookSpecs
from .plugin import Plugin

HOOKS = {name: tuple(signature(spec).parameters)[1:] for name, spec in vars(HookSpecs).items() if name[0] != "_"}
"""Hook -> the arguments that it may take."""
MARK = "mindloom_impl"
"""The attribute that ``@hookimpl`` leaves."""


def check(name: str, plugin: Plugin, manager: pluggy.PluginManager) -> None:
    """Refuse what pluggy would accept and then never call, or call without what it asked for.

    Raises:
        UserError: an unknown hook or argument, an argument that the core cannot pass, a hook without ``@hookimpl`` or
            that is no plain method, or a ``yield`` where it does not belong or where one is missing.
    """
    for method in dir(type(plugin)):
        static = getattr_static(type(plugin), method)
        _check_kind(name, method, static)
        # As it is written: the registry's own manager translates old names.
        options = pluggy.PluginManager.parse_hookimpl_opts(manager, plugin, method)
        if options is not None:
            hook = compat.hook_of(name, options.get("specname") or method)
            if hook not in HOOKS and hasattr(Plugin, hook):
                raise UserError(f"plugin {name!r}: {hook} is no hook, the core calls it anyway: take @hookimpl away")
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


def _check_kind(name: str, method: str, static: object) -> None:
    """Refuse what is no method, in the place of a hook or marked as one."""
    wrapped = getattr(static, "fget", None) or getattr(static, "func", None) or getattr(static, "__func__", None)
    marked = hasattr(static, MARK) or hasattr(wrapped, MARK)
    if not (marked or method in HOOKS) or static is None:
        return
    if isinstance(static, staticmethod) or not (isroutine(static) or callable(static)):
        kind = type(static).__name__ if isinstance(static, staticmethod | property) else f"no method but {static!r:.40}"
        article = "" if kind.startswith("no ") else "a "
        raise UserError(f"plugin {name!r}: {method} is {article}{kind}: write @hookimpl and def {_wanted(method)}")


def _wanted(hook: str) -> str:
    return f"{hook}({', '.join(('self', *HOOKS.get(hook, ())))})"


def _check_arguments(name: str, function: Callable[..., Any], hook: str) -> None:
    try:
        parameters = signature(function).parameters
    except ValueError:
        raise UserError(f"plugin {name!r}: {hook} has no self: write def {_wanted(hook)}") from None
    for written, parameter in parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            star = str(parameter)[: str(parameter).index(written)]  # "*", "**" or nothing
            what = f"{star}{written} takes" if star else f"{written} is keyword-only and takes"
            raise UserError(f"plugin {name!r}: in {hook}, {what} nothing from the core: write def {_wanted(hook)}")
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
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise UserError(f"plugin {name!r}: {hook} is async, so nothing in it would ever run: write def, without async")
    yields, advice = isgeneratorfunction(function), "answer = yield, then return answer"
    if options["hookwrapper"]:
        raise UserError(f"plugin {name!r} wraps {hook} in the old way: write @hookimpl(wrapper=True) and {advice}")
    if options["wrapper"] and not hook.startswith("make_"):
        raise UserError(f"plugin {name!r} wraps {hook}, but only make_ hooks can be wrapped: write a plain @hookimpl")
    if options["wrapper"] and not yields:
        raise UserError(f"plugin {name!r} wraps {hook} without a yield: write {advice}, or a plain @hookimpl")
    if yields and not options["wrapper"] and "Iterator" not in str(getattr(HookSpecs, hook).__annotations__["return"]):
        raise UserError(
            f"plugin {name!r}: {hook} has a yield, so nothing in it would ever run: return instead"
            + (", or write @hookimpl(wrapper=True) to wrap the others" if hook.startswith("make_") else "")
        )
