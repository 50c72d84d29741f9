"""What a plugin's class says about itself, read from its source without importing it.

A distribution has one description, and may hold several plugins; every plugin has a docstring.
"""

from __future__ import annotations

import ast
import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path

from ..discovery import Found

RE_EXPORTS = 2
"""``package:Class`` may be imported there from ``package.module``, and once more."""


def summary(found: Found) -> str:
    """The beginning of the docstring of a plugin's class; where that cannot be read, of its distribution."""
    try:
        text = docstring(found)
    except (OSError, ImportError, SyntaxError, ValueError):  # whoever loads the plugin hears of it
        text = ""
    return first_line(text) or found.summary


def first_line(text: str) -> str:
    """The first line without the full stop that a list needs no more than a title does."""
    return text.strip().partition("\n")[0].strip().removesuffix(".")


def docstring(found: Found) -> str:
    """The docstring of a plugin's class, empty without one.

    Raises:
        OSError, ImportError, SyntaxError, ValueError: its source cannot be found or read.
    """
    module, _, name = found.target.partition(":")
    for _ in range(1 + RE_EXPORTS):
        path = source(module, found.root)
        if path is None:
            return ""
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return ast.get_docstring(node) or ""
            aliases = node.names if isinstance(node, ast.ImportFrom) else []
            imported = next((alias.name for alias in aliases if (alias.asname or alias.name) == name), "")
            if imported and isinstance(node, ast.ImportFrom):
                module, name = importlib.util.resolve_name("." * node.level + (node.module or ""), package), imported
                break
        else:
            return ""
    return ""


def source(module: str, root: str) -> Path | None:
    """Where a module's source is; ``find_spec`` would import the packages around it.

    Args:
        module: its dotted name.
        root: folder to look in before the import path, or empty.
    """
    top, *below = module.split(".")
    spec = (PathFinder.find_spec(top, [root]) if root else None) or importlib.util.find_spec(top)
    name = top
    for part in below:
        if spec is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations or [])
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    return origin if origin is not None and origin.suffix == ".py" else None


def file_docstring(path: Path) -> str:
    """The docstring of the class in a plugin file, or its own; empty if it cannot be read."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases]
    return (len(classes) == 1 and ast.get_docstring(classes[0])) or ast.get_docstring(tree) or ""
