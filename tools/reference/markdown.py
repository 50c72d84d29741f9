"""What all reference pages need: the bundled plugins, tables, and docstrings as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from mindloom import discovery
from mindloom.discovery import Found
from mindloom.plugin import Plugin

ROOT = Path(__file__).resolve().parents[2]
README = "../../plugins/{0}/README.md"
"""A plugin's own page, seen from the reference."""


@cache
def bundled() -> dict[str, tuple[Found, type[Plugin]]]:
    """Every plugin of this checkout by name, whatever else is installed."""
    found = sorted(discovery._checkout(discovery.CHECKOUT), key=lambda found: found.name)
    return {plugin.name: (plugin, plugin.load()) for plugin in found}


def implemented(plugin: type[Plugin]) -> list[str]:
    """Names of the hooks that a class implements; a wrapper's are in parentheses."""
    names = []
    for name in dir(plugin):
        marks = getattr(getattr(plugin, name), "mindloom_impl", None)
        if marks:
            names.append(f"({name})" if marks["wrapper"] or marks["hookwrapper"] else name)
    return names


def has_page(name: str) -> bool:
    """Whether a plugin has a README of its own; those that come with the core, for tests, have none."""
    return (ROOT / "plugins" / name / "README.md").is_file()


def link(name: str) -> str:
    """A plugin's name, leading to its page where there is one."""
    return f"[{name}]({README.format(name)})" if has_page(name) else code(name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells may hold anything but line ends."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def prose(docstring: str) -> str:
    """A docstring's RST as Markdown: double backticks, and parameters as a list."""
    text = docstring.replace("``", "`")
    return re.sub(r"(?m)^:param (\w+): ", r"- `\1`: ", text)


def code(text: str) -> str:
    """As code, where there is any text."""
    return f"`{text}`" if text else ""
