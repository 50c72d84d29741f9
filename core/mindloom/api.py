"""Which plugins this core can work with, judged from their metadata before any of their code is imported.

``API`` counts the breaking changes of what plugins are written against: the hooks and their arguments, ``Plugin``, and
the objects that hooks take and return. A plugin says which one it is written for, in its class (``api = 1``) and in its
metadata (entry-point group ``mindloom.api``), and which releases it needs among its requirements (``mindloom>=0.1``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    from .discovery import Found

API = 1
"""The version that this core is written for."""
OLDEST_API = 1
"""The oldest version that still works, with the names in ``mindloom.compat`` translated."""


def check(found: Found, release: str) -> None:
    """Refuse a plugin that this core cannot run.

    Args:
        found: the plugin, not imported.
        release: version of this core.

    Raises:
        UserError: it is written for another version of the hooks, or its requirements exclude this release.
    """
    check_version(found.name, found.origin, found.api)
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for line in found.requires:
        try:
            needs = Requirement(line)
        except InvalidRequirement:
            continue  # pip's business
        if canonicalize_name(needs.name) != "mindloom" or (needs.marker and not needs.marker.evaluate({"extra": ""})):
            continue
        if not needs.specifier.contains(release, prereleases=True):
            raise UserError(
                f"plugin {found.name!r} ({found.origin}) needs mindloom{needs.specifier}, and this is {release}: "
                f"pip install {str(needs)!r}, or another version of {found.distribution or found.name}",
                setting=f"plugins.{found.name}",
            )


def check_version(name: str, origin: str, wanted: object) -> None:
    """Refuse another version of the hooks.

    Raises:
        UserError: this core does not speak it, or it is no version.
    """
    where = f"plugin {name!r} ({origin})"
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise UserError(f"{where} names no version of the hooks: write api = {API}, not {wanted!r}", f"plugins.{name}")
    if OLDEST_API <= wanted <= API:
        return
    speaks = f"{API}" if OLDEST_API == API else f"{OLDEST_API} to {API}"
    remedy = "upgrade mindloom" if wanted > API else "upgrade the plugin"
    raise UserError(
        f"{where} is written for version {wanted} of the hooks, and this mindloom speaks {speaks}: {remedy}, "
        f"or switch it off with --plugins no:{name}",
        setting=f"plugins.{name}",
    )


def written(path: Path) -> Iterator[object]:
    """Every ``api = ...`` that a file's plugin class says in so many words, read without running the file."""
    with suppress(SyntaxError, ValueError):  # it is reported when it is run
        for found in ast.parse(path.read_bytes()).body:
            if isinstance(found, ast.ClassDef) and _is_plugin(found):
                yield from _values(found)


def _is_plugin(found: ast.ClassDef) -> bool:
    """Whether a class is a plugin at first sight: it says so, or one of its methods is marked ``@hookimpl``."""
    marks = [mark for part in found.body if isinstance(part, ast.FunctionDef) for mark in part.decorator_list]
    return any("hookimpl" in ast.unparse(mark) for mark in marks) or any(
        ast.unparse(base).rpartition(".")[2] == "Plugin" for base in found.bases
    )


def _values(found: ast.ClassDef) -> Iterator[object]:
    for part in found.body:
        if isinstance(part, ast.Assign | ast.AnnAssign) and part.value:
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(ast.unparse(target) == "api" for target in targets):
                with suppress(ValueError):  # computed: judged once the class is there
                    yield ast.literal_eval(part.value)
