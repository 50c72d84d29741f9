"""Which plugins this core can work with, judged from their metadata before any of their code is imported.

``API`` counts the breaking changes of what plugins are written against: the hooks and their arguments, ``Plugin``, and
the objects that hooks take and return. A plugin says which one it is written for, in its class (``api = 1``) and in its
metadata (entry-point group ``mindloom.api``), and which releases it needs among its requirements (``mindloom>=0.1``).
"""

from __future__ import annotations

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
