"""``mindloom plugins show``: all there is to know about one plugin, which is imported for it; mindspore is not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..config import section_of
from ..discovery import BROUGHT, Found, find, load_file
from ..errors import UserError
from ..plugin import Plugin
from ..tables import table
from .about import first_line
from .roles import fills, roles
from .settings import Setting, settings


def add_arguments(parser: argparse.ArgumentParser, available: dict[str, Found]) -> None:
    """Define what ``show`` takes."""
    parser.add_argument("plugin", metavar="NAME", help="a plugin's name, or ./file.py")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: Mapping[str, Any], available: dict[str, Found]) -> int:
    """Print what is known.

    Raises:
        UserError: there is no such plugin, or enabling it would be refused.
    """
    facts = describe(*pick(arguments["plugin"], available), available)
    print(json.dumps(facts) if arguments["json"] else as_text(facts))
    return 0


def pick(name: str, available: Mapping[str, Found]) -> tuple[Found, type[Plugin]]:
    """Find and import a plugin by its name or file."""
    if name.endswith(".py"):
        stem, loaded = load_file(Path(name))
        return Found(stem, loaded.__name__, "", "", name), loaded
    found = find(name, dict(available))
    return found, found.load()


def describe(found: Found, loaded: type[Plugin], available: Mapping[str, Found]) -> dict[str, Any]:
    """Collect everything, as JSON has it."""
    hooks = roles(found.name, loaded)
    text = (loaded.__doc__ or "") if loaded.__doc__ != Plugin.__doc__ else ""
    rivals, skipped = rivals_of(found.name, fills(found.name, loaded), available)
    return {
        "name": found.name,
        "summary": first_line(text) or found.summary,
        "version": found.version,
        "distribution": found.distribution,
        "origin": found.origin,
        "target": found.target,
        "api": loaded.api,
        "requires": list(found.requires),
        "brings": {kind: dict(getattr(found, kind)) for kind in BROUGHT},
        "before": list(loaded.before),
        "after": list(loaded.after),
        "ranks": loaded.ranks,
        "keeps_state": loaded.state_dict is not Plugin.state_dict,
        "hooks": [{"hook": role.hook, "kind": role.kind} for role in hooks],
        "settings": [setting.as_dict() for setting in settings(section_of(found.name, loaded.Config))],
        "conflicts": [{"hook": hook, "plugins": names} for hook, names in rivals.items()],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped.items()],
    }


def rivals_of(
    name: str, slots: set[str], available: Mapping[str, Found]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Slot -> the other plugins that fill it; and those that could not be imported to see, with the reason.

    Nothing is imported for a plugin that fills no slot.
    """
    rivals: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    for other, found in sorted(available.items()) if slots else ():
        if other == name:
            continue
        try:
            common = slots & fills(other, found.load())
        except UserError as error:
            skipped[other] = str(error)
            continue
        for hook in sorted(common):
            rivals.setdefault(hook, []).append(other)
    return rivals, skipped


def as_text(facts: Mapping[str, Any]) -> str:
    """Blocks with an empty line between them: facts, settings, hooks, conflicts."""
    return "\n\n".join(block for block in blocks(facts) if block)


def blocks(facts: Mapping[str, Any]) -> Iterator[str]:
    """Each block of the text; an empty one where there is nothing to say."""
    yield f"{facts['name']}: {facts['summary']}".rstrip(": ")
    lines = dict(properties(facts))
    width = max(map(len, lines))
    yield "\n".join(f"{title:<{width}}  {text}" for title, text in lines.items())
    section = f"plugins.{facts['name']}"
    rows = [Setting(**setting).as_row() for setting in facts["settings"]]
    yield table([f"setting of {section}", "type", "default", "what it is for"], rows) if rows else "no settings"
    hooks = [(role["hook"], role["kind"]) for role in facts["hooks"]]
    yield table(["hook", "what it does there"], hooks) if hooks else "no hooks"
    yield "\n".join(
        f"{rivalry['hook']} is also filled by {', '.join(rivalry['plugins'])}: enable one of them"
        for rivalry in facts["conflicts"]
    )
    yield "\n".join(f"not looked at: {other['reason']}" for other in facts["skipped"])


def properties(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title -> text of what has one line; what is empty or usual is left out."""
    yield "version", facts["version"] or "none"
    yield "from", facts["origin"]
    yield "class", facts["target"]
    yield "hooks' version", str(facts["api"])
    if facts["requires"]:
        yield "needs", ", ".join(facts["requires"])
    for kind, brought in facts["brings"].items():
        if brought:
            sign = "--" if kind == "flags" else ""
            yield kind, ", ".join(f"{sign}{name}" for name in brought)
    for wish in ("before", "after"):
        if facts[wish]:
            yield wish, ", ".join(facts[wish])
    if facts["ranks"] != Plugin.ranks:
        yield "logs on", f"{facts['ranks']} processes"
    if facts["keeps_state"]:
        yield "state", "kept in checkpoints"
