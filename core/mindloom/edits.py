"""Claims on cells: plugins say which ones they replace; the core checks that nobody is in the way and does it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mindspore import nn

from .errors import UserError
from .makers import answered
from .results import describe

if TYPE_CHECKING:
    from .registry import Registry


@dataclass(frozen=True)
class CellEdit:
    """One claim.

    Attributes:
        match: ``match(name, cell)`` says whether this cell is claimed.
        build: ``build(name, cell)`` returns what takes its place, or None to leave this one as it is. The new cell
            holds parameters of the same names and shapes.
        why: what the edit is good for, for the receipt.
        yields: where another claim takes the cell, or one around it, this one gives way instead of being refused.
        alters: whether the new cell computes something else, so that a checkpoint belongs to runs with this plugin.
        equal: whether the new cell computes what the old one does, up to rounding, so that a cell around it may do
            the work of both.
        wraps: the new cell holds the cells inside the old one, for what it does not compute itself, and does their
            work in all else. Others may replace those, too, which is done before; unless each does so by what is
            ``equal``, this claim is dropped.
    """

    match: Callable[[str, nn.Cell], bool]
    build: Callable[[str, nn.Cell], nn.Cell | None]
    why: str
    yields: bool = False
    alters: bool = True
    equal: bool = False
    wraps: bool = False


def watched(registry: Registry, owner: str, edit: CellEdit) -> CellEdit:
    """The edit, with its owner blamed for what its functions raise or return wrongly."""

    def misbuilt(cell: object) -> str:
        right = cell is None or isinstance(cell, nn.Cell)
        return "" if right else f"the build of its CellEdit must return an nn.Cell or None, not {describe(cell)}"

    watch = partial(answered, registry, "edit_model", [owner])
    return replace(edit, match=watch(edit.match, lambda _: ""), build=watch(edit.build, misbuilt))


@dataclass(frozen=True)
class Claim:
    """An edit that matched a cell."""

    owner: str
    name: str
    cell: nn.Cell
    edit: CellEdit


Place = tuple[str, nn.Cell, tuple[nn.Cell, ...]]


def places(cell: nn.Cell, name: str = "", around: tuple[nn.Cell, ...] = ()) -> Iterator[Place]:
    """Every place of every cell, with the cells around it. A shared cell has several places, which MindSpore skips."""
    yield name, cell, around
    for key, child in cell._cells.items():
        if child is not None:
            yield from places(child, f"{name}.{key}" if name else key, (*around, cell))


@dataclass(frozen=True)
class Clash:
    """Two claims that cannot both hold.

    Attributes:
        owners: the plugin that came first or claims more, then the other one; the same twice for edits of one plugin.
        name: the cell in dispute, the inner one.
    """

    owners: tuple[str, str]
    name: str

    def __str__(self) -> str:
        return refusal(self.owners, f"the cell {self.name}")


def refusal(owners: tuple[str, str], what: str) -> str:
    """Say that both of them replace something, and what to do."""
    first, second = owners
    if first == second:
        return f"plugin {first!r} replaces {what} twice (edit_model): let one edit match it, and none around or inside"
    return (
        f"plugins {first!r} and {second!r} both replace {what} (edit_model): switch one off with --plugins no:{second}"
    )


def claims(model: nn.Cell, edits: Sequence[tuple[str, CellEdit]]) -> list[Claim]:
    """Find the cells that each plugin's edit matches, by any of their names.

    Raises:
        UserError: two claims meet in one cell, or one lies inside another.
    """
    found, clashes = survey(model, edits)
    for clash in clashes:
        raise UserError(str(clash))
    return found


def survey(model: nn.Cell, edits: Sequence[tuple[str, CellEdit]]) -> tuple[list[Claim], Iterator[Clash]]:
    """Find the cells that each plugin's edit matches, the first of several claims each; and all claims that clash."""
    everywhere = [place for place in places(model) if place[0]]
    found: dict[int, list[Claim]] = {}
    _collect(found, everywhere, [asked for asked in edits if not asked[1].yields])
    taken = {id(cell) for _, cell, around in everywhere if any(id(part) in found for part in (*around, cell))}
    free = [place for place in everywhere if id(place[1]) not in taken]
    _collect(found, free, [asked for asked in edits if asked[1].yields])
    for cell in _spoilt(everywhere, found):
        found[cell] = [claim for claim in found[cell] if not claim.edit.wraps]
    found = {cell: meeting for cell, meeting in found.items() if meeting}
    return [meeting[0] for meeting in found.values()], _clashes(everywhere, found)


def _spoilt(everywhere: Sequence[Place], found: Mapping[int, Sequence[Claim]]) -> set[int]:
    """Cells whose wrapping claim would do the work of a claim inside it that computes something else."""
    return {
        id(outer)
        for _, cell, around in everywhere
        for outer in around
        if any(claim.edit.wraps for claim in found.get(id(outer), ()))
        and any(not claim.edit.equal for claim in found.get(id(cell), ()))
    }


def _collect(found: dict[int, list[Claim]], where: Sequence[Place], edits: Sequence[tuple[str, CellEdit]]) -> None:
    for name, cell, _ in where:
        for owner, edit in edits:
            if edit.match(name, cell):
                meeting = found.setdefault(id(cell), [])
                if all(claim.edit is not edit for claim in meeting):  # one edit may match a shared cell's every name
                    meeting.append(Claim(owner, name, cell, edit))


def _clashes(everywhere: Sequence[Place], found: Mapping[int, Sequence[Claim]]) -> Iterator[Clash]:
    for meeting in found.values():
        for claim in meeting[1:]:
            yield Clash((meeting[0].owner, claim.owner), claim.name)
    for name, cell, around in everywhere:
        for outer in around:
            if id(cell) in found and id(outer) in found and not found[id(outer)][0].edit.wraps:
                yield Clash((found[id(outer)][0].owner, found[id(cell)][0].owner), name)


def apply(roots: Sequence[nn.Cell], edits: Sequence[tuple[str, CellEdit]], log: logging.Logger) -> dict[str, int]:
    """Replace the claimed cells wherever the roots hold them; return how many each plugin altered.

    Args:
        roots: the model first, which is searched; then other cells that share parts of it.
        edits: (owner, edit).
        log: receives one line for each plugin and reason.
    """
    receipts: dict[tuple[str, str], int] = {}
    totals: dict[str, int] = {}
    found = claims(roots[0], edits)
    for some in _rounds(found):
        built = {}
        for claim in some:
            new = claim.edit.build(claim.name, claim.cell)
            if new is None:
                continue
            _check_parameters(claim, new)
            built[id(claim.cell)] = new
            receipts[claim.owner, claim.edit.why] = receipts.get((claim.owner, claim.edit.why), 0) + 1
            if claim.edit.alters:
                totals[claim.owner] = totals.get(claim.owner, 0) + 1
        _replace(roots, built)
    for (owner, why), count in receipts.items():
        log.info("%s replaced %d cells: %s", owner, count, why)
    return totals


def _rounds(found: Sequence[Claim]) -> list[list[Claim]]:
    """The claims, those within others first: a cell that wraps needs to see what takes its place inside."""
    wrapped = {id(claim.cell) for claim in found if claim.edit.wraps}
    rounds: dict[int, list[Claim]] = {}
    for claim in found:
        inside = claim.cell.cells_and_names() if claim.edit.wraps else ()
        rounds.setdefault(sum(id(cell) in wrapped for _, cell in inside), []).append(claim)
    return [rounds[depth] for depth in sorted(rounds)]


def _check_parameters(claim: Claim, new: nn.Cell) -> None:
    def shapes(cell: nn.Cell) -> dict[str, tuple[int, ...]]:
        return {name: tuple(param.shape) for name, param in cell.parameters_and_names()}

    old, now = shapes(claim.cell), shapes(new)
    if old != now:
        name = min(name for name in {*old, *now} if old.get(name) != now.get(name))
        raise UserError(
            f"plugin {claim.owner!r} replaced {claim.name} by a cell with other parameters: "
            f"{name} was {old.get(name, 'absent')} and is now {now.get(name, 'absent')}"
        )
    after = dict(new.parameters_and_names())
    for name, before in claim.cell.parameters_and_names():
        after[name].name, after[name].requires_grad = before.name, before.requires_grad
        if after[name] is not before:
            after[name].set_data(before)


def _replace(roots: Sequence[nn.Cell], built: Mapping[int, nn.Cell]) -> None:
    """Put the new cells where the roots hold those of these identities, unless they wrap what they replace."""
    inside = {old: {id(cell) for _, cell in new.cells_and_names()} for old, new in built.items()}
    for root in roots:
        for _, parent in list(root.cells_and_names()):
            for key, child in list(parent._cells.items()):
                if id(child) not in built or id(parent) in inside[id(child)]:
                    continue
                if not isinstance(parent, nn.SequentialCell | nn.CellList):
                    setattr(parent, key, built[id(child)])
                    continue
                # Not by parent[index] = ..., which guesses names from those of neighbours: they get theirs anyway.
                parent._cells[key] = built[id(child)]
                if isinstance(parent, nn.SequentialCell):
                    parent.cell_list = list(parent._cells.values())
