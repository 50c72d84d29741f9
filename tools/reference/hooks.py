"""The page of all hooks, in the order of a run."""

from __future__ import annotations

import inspect
import re

import mindloom.hooks
from mindloom.hooks import HookSpecs

from .markdown import bundled, implemented, link, prose

KINDS = {
    "make": "a slot: the first plugin that answers fills it, a wrapper may change the answer",
    "add": "a contribution: everyone is asked, and the core collects",
    "edit": "a contribution: everyone is asked, and the core collects and applies",
    "on": "an event: everyone is told, results are ignored",
}


def order() -> tuple[str, list[str]]:
    """The drawing of a run in the module's docstring, and the hooks in the order in which it names them."""
    docstring = inspect.cleandoc(mindloom.hooks.__doc__ or "")
    drawing = inspect.cleandoc(docstring.partition("in order::")[2])
    known = [name for name in vars(HookSpecs) if not name.startswith("_")]
    drawn = list(dict.fromkeys(re.findall(r"\b(?:on|make|add|edit)_\w+", drawing)))
    if sorted(drawn) != sorted(known):
        raise SystemExit(f"core/mindloom/hooks.py draws other hooks than it specifies: {set(drawn) ^ set(known)}")
    return drawing, drawn


def signature(name: str) -> str:
    """As an implementation would write it, with everything that it may ask for."""
    return f"def {name}{inspect.signature(getattr(HookSpecs, name))}".replace("'", "")


def users(hook: str) -> str:
    """The bundled plugins that implement a hook."""
    names = []
    for name, (_, plugin) in bundled().items():
        hooks = implemented(plugin)
        names += [link(name)] if hook in hooks else [f"{link(name)} (wraps it)"] if f"({hook})" in hooks else []
    return ", ".join(names)


def page() -> str:
    """The page."""
    drawing, names = order()
    parts = [
        "# Hooks\n",
        "A plugin implements a hook by a method of the same name with any subset of the arguments, marked with "
        "`@hookimpl`: see [How plugins work](../plugins.md). The calls of one run, in order:\n",
        f"```text\n{drawing}\n```\n",
    ]
    for place, name in enumerate(names):
        spec = getattr(HookSpecs, name)
        time = "Build time" if place < names.index("on_train_start") else "Run time"
        parts += [f"## {name}\n", f"```python\n{signature(name)}\n```\n"]
        parts += [f"*{time}; {KINDS[name.partition('_')[0]]}.*\n", prose(inspect.getdoc(spec) or "") + "\n"]
        if who := users(name):
            parts.append(f"Implemented by {who}.\n")
    return "\n".join(parts)
