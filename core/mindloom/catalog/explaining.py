"""``mindloom plugins explain``: who does what under a config, in which order, and all that a run would refuse."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..cli import locating_settings, settings_parser
from ..discovery import Found
from ..errors import UserError
from ..registry import CORE, Registry
from ..session import LOG
from ..signatures import HOOKS
from ..tables import table
from .cells import edited, editors, reason_against
from .refusals import Attempt, attempt

EXAMPLES = """Takes what train takes, reads neither data nor weights, and makes no run folder. A plugin that edits the
model has it built without values, which takes seconds. The exit code is 2 if a run would refuse anything.

examples:
  mindloom plugins explain --config my.yaml
  mindloom plugins explain --config my.yaml --plugins ./my_swap.py --json"""


def add_arguments(parser: argparse.ArgumentParser, available: dict[str, Found]) -> None:
    """Take what ``train`` takes."""
    settings_parser(parser, available)
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: Mapping[str, Any], available: dict[str, Found]) -> int:
    """Print the explanation; return 2 if there are conflicts.

    Raises:
        UserError: nothing is asked for, or a file cannot be read.
    """
    with locating_settings(dict(arguments), available) as layers:
        if not (layers.enabled or layers.values):
            raise UserError("nothing to explain: give --config FILE or --plugins (see --help)")
        this = attempt(layers, available)
        try:
            facts = describe(this, available)
        finally:
            this.close(LOG)
    print(json.dumps(facts) if arguments["json"] else as_text(facts))
    return UserError.exit_code if facts["conflicts"] else 0


def describe(this: Attempt, available: Mapping[str, Found]) -> dict[str, Any]:
    """Collect everything, as JSON has it."""
    from ..build import NO_TASK  # imports NumPy, which the neighbours of this command do without

    registry, notes = this.registry, []
    if not registry.fillers("make_task") and len(this.classes) == len(this.layers.enabled):
        this.refuse(NO_TASK)
    cells = []
    if editors(this):
        against = reason_against(this)
        if against:
            notes.append(f"cells were not looked at: {against}")
        else:
            cells = [asdict(edit) for edit in edited(this)]
    asked = {kind: [hook for hook in HOOKS if hook.startswith(kind)] for kind in ("make_", "add_", "edit_", "on_")}
    return {
        "plugins": [
            {
                "name": name,
                "from": available[mention].origin if (mention := this.mentions[name]) in available else mention,
                "enabled_by": this.layers.enabled[mention],
                "moved_by": moves(name, this),
            }
            for name in registry.plugins
        ],
        "blocked": sorted(this.layers.blocked),
        "slots": [
            {
                "hook": hook,
                "filled_by": registry.fillers(hook) or answers_of_the_core(registry, hook),
                "wrapped_by": registry.fillers(hook, wrappers=True),
            }
            for hook in asked["make_"]
        ],
        "contributions": calls(registry, [*asked["add_"], *asked["edit_"]]),
        "observers": calls(registry, asked["on_"]),
        "cells": cells,
        "notes": notes,
        "conflicts": this.refusals,
    }


def moves(name: str, this: Attempt) -> list[str]:
    """Whose wishes moved a plugin away from where it was enabled."""
    given = list(this.classes)
    late = [other for other in given if other in this.earlier[name] and given.index(other) > given.index(name)]
    return [f"after {other}, as {name if other in this.classes[name].after else other} wishes" for other in late]


def answers_of_the_core(registry: Registry, hook: str) -> list[str]:
    """The core, if it has an answer of its own."""
    return [CORE] if any(h == hook and impl.plugin_name == CORE for h, impl in registry.implementations()) else []


def calls(registry: Registry, hooks: Sequence[str]) -> list[dict[str, Any]]:
    """Who is called for each of the hooks, in order; hooks that nobody implements are left out."""
    called = {
        hook: [*registry.fillers(hook, wrappers=True), *registry.fillers(hook), *answers_of_the_core(registry, hook)]
        for hook in hooks
    }
    return [{"hook": hook, "plugins": names} for hook, names in called.items() if names]


def as_text(facts: Mapping[str, Any]) -> str:
    """Tables with an empty line between them, and the conflicts at the end, where they are seen."""
    return "\n\n".join(block for block in blocks(facts) if block)


def blocks(facts: Mapping[str, Any]) -> Iterator[str]:
    """Each block of the text; an empty one where there is nothing to say."""
    order = [(p["name"], p["from"], p["enabled_by"], "; ".join(p["moved_by"])) for p in facts["plugins"]]
    moved = any(row[-1] for row in order)
    columns = ["plugin, in order", "from", "switched on by", "moved because"]
    yield table(columns, order) if moved else table(columns[:-1], [row[:-1] for row in order])
    if facts["blocked"]:
        yield f"switched off for good: {', '.join(facts['blocked'])}"
    slots = [
        (slot["hook"], ", ".join(slot["filled_by"]) or "nobody", ", ".join(slot["wrapped_by"]))
        for slot in facts["slots"]
    ]
    wrapped = any(row[-1] for row in slots)
    columns = ["slot", "filled by", "wrapped by, from outside in"]
    yield table(columns, slots) if wrapped else table(columns[:-1], [row[:-1] for row in slots])
    for title, kind in (("asked for contributions", "contributions"), ("told of events", "observers")):
        rows = [(call["hook"], ", ".join(call["plugins"])) for call in facts[kind]]
        yield table(["hook", title], rows) if rows else ""
    cells = [
        (edit["plugin"], edit["cells"], edit["why"], some(edit["names"], edit["cells"])) for edit in facts["cells"]
    ]
    yield table(["edits the model", "cells", "why", "such as"], cells, right={"cells"}) if cells else ""
    yield "\n".join(facts["notes"])
    yield "\n".join(f"conflict: {text}" for text in facts["conflicts"]) or "no conflicts"


def some(names: Sequence[str], count: int) -> str:
    """The names, and whether there are more."""
    return ", ".join([*names, *["..."] * (count > len(names))])
