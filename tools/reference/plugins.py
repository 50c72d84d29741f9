"""The page of the bundled plugins: what each does and what it brings."""

from __future__ import annotations

from dataclasses import fields

from mindloom.catalog.about import first_line
from mindloom.discovery import Found
from mindloom.plugin import Plugin

from .hooks import order
from .markdown import bundled, code, implemented, link, table


def hook_link(name: str) -> str:
    """A hook's name, leading to the reference of hooks; a wrapper's says so."""
    bare = name.strip("()")
    return f"[{bare}](hooks.md#{bare})" + (" (wraps)" if bare != name else "")


def brings(found: Found) -> str:
    """What a plugin adds to the command line and to data sets."""
    parts = [f"format {code(name)}" for name, _ in found.formats]
    parts += [f"command {code('mindloom ' + name)}" for name, _ in found.commands]
    parts += [f"measure {code(name)}" for name, _ in found.measures]
    parts += [code(f"--{name}") for name, _ in found.flags]
    return ", ".join(parts)


def hooks_of(plugin: type[Plugin]) -> str:
    """The hooks that a plugin implements, in the order of a run."""
    _, names = order()
    return ", ".join(
        hook_link(name) for name in sorted(implemented(plugin), key=lambda name: names.index(name.strip("()")))
    )


def settings_of(name: str, plugin: type[Plugin]) -> str:
    """How many settings there are, leading to them."""
    count = len(fields(plugin.Config))
    return f"[{count}](settings.md#plugins{name})" if count else "0"


def row(name: str, found: Found, plugin: type[Plugin]) -> tuple[str, ...]:
    """A plugin's line of the table."""
    return link(name), first_line(plugin.__doc__ or ""), hooks_of(plugin), brings(found), settings_of(name, plugin)


def page() -> str:
    """The page."""
    head = ("plugin", "what it does", "hooks", "brings", "settings")
    parts = [
        "# Plugins\n",
        "What is bundled. `toy` and `pictures` come with the core, for tests of plugins: see "
        "[How plugins work](../plugins.md).\n",
        table(head, (row(name, *known) for name, known in bundled().items())),
    ]
    return "\n".join(parts)
