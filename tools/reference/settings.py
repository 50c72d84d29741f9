"""The page of all settings: the core's and each bundled plugin's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints

from mindloom.schema import CHOICES, RANGES, Config

from .markdown import bundled, code, table

HEAD = ("setting", "type", "default", "values", "meaning")


def default(found: Field[Any]) -> Any:
    """The value that holds when nobody sets one."""
    if found.default_factory is not MISSING:
        return found.default_factory()
    return found.default


def shown(value: Any) -> str:
    """A value as YAML would have it."""
    return "must be set" if value is MISSING or value == "???" else code(json.dumps(value))


def kind(schema: type, name: str) -> str:
    """A field's type, as people write it."""
    found = get_type_hints(schema)[name]
    text = found.__name__ if isinstance(found, type) and not getattr(found, "__args__", ()) else str(found)
    return text.replace("[typing.Any]", "")


def values(key: str) -> str:
    """What a setting of the core takes, where its type does not say all."""
    if key in CHOICES:
        return ", ".join(code(choice) if choice else "empty" for choice in CHOICES[key])
    if key in RANGES:
        least, most = RANGES[key]
        return f"{least:g} to {most:g}".replace("e+0", "e").replace("e+", "e")
    return ""


def rows(schema: type, prefix: str = "") -> Iterator[tuple[str, ...]]:
    """One row for each setting of a section; sections inside it are left to themselves."""
    for found in fields(schema):
        key = prefix + found.name
        if key == "plugins" or is_dataclass(default(found)):
            continue
        about = found.metadata.get("help", "")
        if found.metadata.get("interval"):
            about += " (an interval)"
        yield code(key), kind(schema, found.name), shown(default(found)), values(key), about


def page() -> str:
    """The page."""
    parts = [
        "# Settings\n",
        "Layers, later wins: these defaults, config files in order, `key=value`, flags. Settings called an interval "
        "count steps, and are multiples of the steps in a dispatch where a data sink runs several.\n",
        "## Core\n",
        table(HEAD, rows(Config)),
    ]
    for found in fields(Config):
        section = default(found)
        if is_dataclass(section):
            parts += [f"## {found.name}\n", f"{(type(section).__doc__ or '').strip()}\n"]
            parts.append(table(HEAD, rows(type(section), f"{found.name}.")))
    for name, (_, plugin) in bundled().items():
        listed = list(rows(plugin.Config, f"plugins.{name}."))
        if listed:
            slim = [(key, typed, value, about) for key, typed, value, _, about in listed]
            parts += [f"## plugins.{name}\n", table((*HEAD[:3], HEAD[4]), slim)]
    none = [code(name) for name, (_, plugin) in bundled().items() if not fields(plugin.Config)]
    if none:
        parts.append(f"Without settings: {', '.join(none)}.\n")
    return "\n".join(parts)
