"""Which cells a config's plugins would replace: the model is built without values, as for ``mindloom check``."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from ..blame import blaming
from ..check import dry_run
from .refusals import Attempt

NAMES = 3
"""How many cells are named for each edit."""


@dataclass(frozen=True)
class Edited:
    """What one plugin would replace for one reason.

    Attributes:
        plugin, why: who, and what for.
        cells: how many.
        names: the first of them.
    """

    plugin: str
    why: str
    cells: int
    names: tuple[str, ...]


def editors(this: Attempt) -> list[str]:
    """Plugins that edit the model; without any, there is nothing to build it for."""
    return this.registry.fillers("edit_model")


def reason_against(this: Attempt) -> str:
    """Why the model cannot be built to look at, or nothing."""
    if this.cfg is None:
        return "the settings come first"
    builders = [*this.registry.fillers("make_task"), *this.registry.fillers("make_task", wrappers=True)]
    if not builders:
        return "there is no task"
    refused = [
        name for name in dict.fromkeys([*builders, *editors(this)]) if name in this.blamed or name not in this.made
    ]
    return f"the conflicts of {', '.join(map(repr, refused))} come first" if refused else ""


def edited(this: Attempt) -> list[Edited]:
    """Build the task without values and ask every plugin what it claims; claims that meet are noted as refusals."""
    os.environ.setdefault("GLOG_v", "4")
    from ..edits import CellEdit, refusal, survey

    assert this.cfg is not None
    found: list[Edited] = []
    plugins = this.registry.plugins
    with this.noting(), blaming(plugins), dry_run(this.cfg, this.registry) as run:
        edits: list[tuple[str, CellEdit]] = []
        for name in editors(this):
            with this.noting(name):
                answers = this.registry.ask(name, "edit_model", run=run, model=run.task.model)
                edits += [(name, edit) for answer in answers for edit in answer]
        claims, clashing = survey(run.task.model, edits)
        groups: dict[tuple[str, str], list[str]] = {}
        for claim in claims:
            groups.setdefault((claim.owner, claim.edit.why), []).append(claim.name)
        found = [Edited(*group, len(names), tuple(names[:NAMES])) for group, names in groups.items()]
        many = list(clashing)
        first = {clash.owners: clash.name for clash in reversed(many)}
        for owners, count in Counter(clash.owners for clash in many).items():
            what = f"the cell {first[owners]}" + (f" and {count - 1} more" if count > 1 else "")
            this.refuse(refusal(owners, what), *owners)
    return found
