"""Answers of hooks: whether they are what the hook's return annotation says, checked when they are given.

A wrong answer would otherwise surface far from who gave it, in the core or in another plugin. Hooks that observe answer
nothing, so nothing is added to their calls.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from reprlib import repr as shortened
from types import FunctionType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from . import hooks
from .blame import at, blamed
from .plugin import Plugin
from .registry import CORE, Registry

if TYPE_CHECKING:
    import pluggy

ALSO = {"make_step": ("outputs",)}
"""Attributes that an answer needs and its type does not promise."""

CONSTRUCTS = {
    "make_optimizer": ("lr", "gradients"),
    "make_reducer": ("gradients",),
    "add_grad_ops": ("gradients",),
}
"""How the step calls the cells that a hook returned."""


def check(registry: Registry) -> None:
    """Check every answer that a plugin gives to a hook, from now on."""
    registry.around(_checked)


def _checked(hook: str, impl: pluggy.HookImpl) -> Callable[..., Any]:
    function: Callable[..., Any] = impl.function
    wraps = impl.wrapper or impl.hookwrapper
    if impl.plugin_name == CORE or hook.startswith("on_") or (wraps and not hook.startswith("make_")):
        return function

    refuse = partial(_refusal, hook, impl)

    def answers(*arguments: Any) -> Any:
        answer = function(*arguments)
        if answer is not None and (wrong := misfit(hook, answer)):
            raise refuse(f"it must return {_wanted(hook)} or nothing, not {wrong}")
        return answer

    def wrapping(*arguments: Any) -> Generator[None, Any, Any]:
        given, answer = yield from _relay(function(*arguments), refuse)
        if answer is None and given is not None:
            raise refuse("it wraps others and must return what its yield gave it, not None")
        if answer is not None and (wrong := misfit(hook, answer)):
            raise refuse(f"it must return {_wanted(hook)}, not {wrong}")
        return answer

    return wrapping if wraps else answers


def _relay(
    wrapper: Generator[None, Any, Any], refuse: Callable[[str], Exception]
) -> Generator[None, Any, tuple[Any, Any]]:
    """Hand a wrapper what the wrapped call gave or raised; return that and its answer."""
    given, once = None, "it wraps others and must yield once"
    try:
        next(wrapper)
    except StopIteration:
        raise refuse(once) from None
    try:
        given = yield
        go_on = partial(wrapper.send, given)
    except BaseException as error:
        go_on = partial(wrapper.throw, error)
    try:
        go_on()
    except StopIteration as end:
        return given, end.value
    raise refuse(once)


def _refusal(hook: str, impl: pluggy.HookImpl, reason: str) -> Exception:
    code = getattr(getattr(type(impl.plugin), hook, None), "__code__", None)
    line = at(code.co_filename, code.co_firstlineno) if code else ""
    kind = type(impl.plugin)
    return blamed(TypeError(reason), impl.plugin_name, kind if issubclass(kind, Plugin) else None, hook, line)


def misfit(hook: str, answer: object) -> str:
    """Describe an answer that is not what the hook wants; empty if it is."""
    return mismatch(answer, returns(hook)) or lacking(answer, ALSO.get(hook, ())) or _miscalled(hook, answer)


def _miscalled(hook: str, answer: object) -> str:
    """Describe a cell that cannot be called as the step will call it; empty if it can."""
    taken, several = CONSTRUCTS.get(hook, ()), hook.startswith("add_")
    cells: Any = () if not taken else answer if several else [answer]
    for cell in cells:
        try:
            inspect.signature(cell.construct).bind(*taken)
        except TypeError:
            given = inspect.signature(cell.construct)
            return f"{describe(cell)} with construct{given} where construct({', '.join(taken)}) is called"
        except (AttributeError, ValueError):  # written in C
            continue
    return ""


def _wanted(hook: str) -> str:
    return _annotation(hook).removesuffix(" | None")


def _annotation(hook: str) -> str:
    return str(getattr(hooks.HookSpecs, hook).__annotations__["return"])


class _Names(dict[str, Any]):
    """Names that ``hooks.py`` imports for type checkers only, imported when one is asked for: mindspore is slow."""

    def __missing__(self, name: str) -> Any:
        module, attribute = _imports()[name]
        return getattr(import_module(module, __package__), attribute)


@cache
def _imports() -> dict[str, tuple[str, str]]:
    (block,) = (part for part in ast.parse(inspect.getsource(hooks)).body if isinstance(part, ast.If))
    return {
        alias.asname or alias.name: ("." * found.level + (found.module or ""), alias.name)
        for found in block.body
        if isinstance(found, ast.ImportFrom)
        for alias in found.names
    }


@cache
def returns(hook: str) -> Any:
    """The type of a hook's answer other than None, the one truth being its specification."""
    only = SimpleNamespace(__annotations__={"return": _wanted(hook)})
    return get_type_hints(only, vars(hooks), _Names())["return"]


def mismatch(value: object, wanted: Any) -> str:
    """Describe a value that is not of a type, and in what; empty if it is.

    Numbers are not judged: they are converted where they are used.
    """
    origin, parts = get_origin(wanted) or wanted, get_args(wanted)
    if origin in (Any, float):
        return ""
    if origin in (Union, UnionType):
        found = [mismatch(value, part) for part in parts]
        return "" if "" in found else found[0]
    if origin is Sequence:  # a CellList is none, and does as well
        if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | Mapping):
            return _inside(value, [(item, parts[0]) for item in iter(value)])  # type: ignore[call-overload]
        return describe(value)
    if origin is dict:
        if isinstance(value, Mapping):
            items = () if parts[1] is float else value.values()  # asked for at every log
            return _inside(value, [*((key, parts[0]) for key in value), *((item, parts[1]) for item in items)])
        return describe(value)
    if origin is Callable:
        return "" if callable(value) else describe(value)
    if getattr(wanted, "_is_protocol", False):
        return lacking(value, _members(wanted))
    if not isinstance(value, origin):
        return describe(value)
    return lacking(value, _members(wanted)) if inspect.isabstract(wanted) else ""


def _inside(value: object, parts: Sequence[tuple[object, Any]]) -> str:
    wrong = next((found for part, wanted in parts if (found := mismatch(part, wanted))), "")
    return wrong and f"a {type(value).__name__} with {wrong} in it"


@cache
def _members(wanted: type) -> tuple[str, ...]:
    """What a protocol or an abstract class promises: attributes without a value, and a protocol's methods."""
    if not getattr(wanted, "_is_protocol", False):
        return tuple(wanted.__annotations__)
    methods = (name for name, part in list(vars(wanted).items()) if isinstance(part, FunctionType))
    return *wanted.__annotations__, *(name for name in methods if name not in ("__init__", "__subclasshook__"))


def lacking(value: object, attributes: Sequence[str]) -> str:
    """Describe a value by the attributes that it should have and has not; empty if it has them all."""
    absent = [name for name in attributes if not hasattr(value, name)]
    return f"{describe(value)} without {', '.join(absent)}" if absent else ""


def describe(value: object) -> str:
    """Say what a value is, in few words."""
    if value is None or isinstance(value, bool | int | float | str):
        return f"{shortened(value)}"
    if isinstance(value, type) or inspect.isroutine(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    return f"a {type(value).__name__}"
