"""``mindloom plugins list``: every plugin there is, and which of them a config switches on. Nothing is imported."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cli import layers_of, settings_parser
from ..discovery import Found
from ..layers import Layers, plugin_name
from ..tables import table
from .about import file_docstring, first_line, summary

EXAMPLES = """With a config, the list tells which plugins it switches on, and where: a file, a flag or the command line.

examples:
  mindloom plugins list
  mindloom plugins list --config my.yaml --plugins no:tensorboard"""

ON, OFF, BLOCKED = "on", "off", "blocked"


def add_arguments(parser: argparse.ArgumentParser, available: dict[str, Found]) -> None:
    """Take whatever ``train`` takes: each of it may switch plugins on."""
    settings_parser(parser, available)
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: Mapping[str, Any], available: dict[str, Found]) -> int:
    """Print the list."""
    layers = layers_of(dict(arguments), available)
    rows = [entry(found, layers) for found in [*available.values(), *strangers(layers, available)]]
    rows.sort(key=lambda row: row["name"])
    if not is_config(arguments, layers):
        rows = [{key: value for key, value in row.items() if key not in ("state", "by")} for row in rows]
    print(json.dumps(rows) if arguments.get("json") else as_text(rows))
    return 0


def entry(found: Found, layers: Layers) -> dict[str, str]:
    """One plugin: what is known of it without an import, and what the layers say about it."""
    mention = found.target if found.target.endswith(".py") else found.name
    return {
        "name": found.name,
        "version": found.version,
        "where": found.where,
        "state": state(mention, layers),
        "by": layers.enabled.get(mention, ""),
        "summary": summary(found) if ":" in found.target else found.summary,
    }


def state(name: str, layers: Layers) -> str:
    """On, off, or blocked, which is off whatever a file says."""
    return ON if name in layers.enabled else BLOCKED if name in layers.blocked else OFF


def strangers(layers: Layers, available: Mapping[str, Found]) -> list[Found]:
    """What is switched on and not among the plugins: files, and names that nobody has."""
    return [
        Found(plugin_name(name), name, "", first_line(file_docstring(Path(name))), name)
        if name.endswith(".py")
        else Found(name, "", "", "there is no such plugin here", "missing")
        for name in layers.enabled
        if name not in available
    ]


def is_config(arguments: Mapping[str, Any], layers: Layers) -> bool:
    """Whether anything was said that could switch plugins."""
    return bool(layers.enabled or layers.blocked or layers.values or arguments.get("config"))


def as_text(rows: list[dict[str, str]]) -> str:
    """A table."""
    headers = {"name": "plugin", "version": "version", "where": "from", "state": "state", "by": "switched on by"}
    headers["summary"] = "what it does"
    shown = [key for key in headers if not rows or key in rows[0]]
    return table([headers[key] for key in shown], ([row[key] for key in shown] for row in rows))
