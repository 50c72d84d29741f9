"""Claims on cells: plugins say which ones they replace; the core checks that nobody is in the way and does it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mindspore import nn

from .errors import UserError


@dataclass(frozen=True)
class CellEdit:
    """One claim.

    Attributes:
        match: ``match(name, cell)`` says whether this cell is claimed.
        build: ``build(name, cell)`` returns what takes its place, or None to leave this one as it is. The new cell
            holds parameters of the same names and shapes.
        why: what the edit is good for, for the receipt.
    """

    match: Callable[[str, nn.Cell], bool]
    build: Callable[[str, nn.Cell], nn.Cell | None]
    why: str


@dataclass(frozen=True)
class Claim:
    """An edit that matched a cell."""

    owner: str
    name: str
    cell: nn.Cell
    edit: CellEdit


def claims(model: nn.Cell, edits: Sequence[tuple[str, CellEdit]]) -> list[Claim]:
    """Find the cells that each plugin's edit matches.

    Raises:
        UserError: two claims meet in one cell, or one lies inside another.
    """
    found: dict[str, Claim] = {}
    for name, cell in model.cells_and_names():
        for owner, edit in edits:
            if name and edit.match(name, cell):
                claim = Claim(owner, name, cell, edit)
                above = _claimed_above(name, found)
                if above is not None:
                    raise UserError(
                        f"plugins {above.owner!r} and {owner!r} both replace the cell {name}: "
                        f"switch one off with --plugins no:{owner}"
                    )
                found[name] = claim
    return list(found.values())


def _claimed_above(name: str, found: dict[str, Claim]) -> Claim | None:
    while name:
        if name in found:
            return found[name]
        name = name.rpartition(".")[0]
    return None


def apply(roots: Sequence[nn.Cell], edits: Sequence[tuple[str, CellEdit]], log: logging.Logger) -> dict[str, int]:
    """Replace the claimed cells wherever the roots hold them; return how many each plugin replaced.

    Args:
        roots: the model first, which is searched; then other cells that share parts of it.
        edits: (owner, edit).
        log: receives one line for each plugin and reason.
    """
    receipts: dict[tuple[str, str], int] = {}
    for claim in claims(roots[0], edits):
        new = claim.edit.build(claim.name, claim.cell)
        if new is None:
            continue
        _check_parameters(claim, new)
        for root in roots:
            _replace(root, claim.cell, new)
        receipts[claim.owner, claim.edit.why] = receipts.get((claim.owner, claim.edit.why), 0) + 1
    for (owner, why), count in receipts.items():
        log.info("%s replaced %d cells: %s", owner, count, why)
    totals: dict[str, int] = {}
    for (owner, _), count in receipts.items():
        totals[owner] = totals.get(owner, 0) + count
    return totals


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


def _replace(root: nn.Cell, old: nn.Cell, new: nn.Cell) -> None:
    for _, parent in list(root.cells_and_names()):
        for key, child in list(parent.name_cells().items()):
            if child is not old:
                continue
            if isinstance(parent, nn.SequentialCell | nn.CellList):
                parent[int(key)] = new
            else:
                setattr(parent, key, new)
