"""Claims that give way to others, and claims that compute the same as what they replace."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.defaults import Defaults
from mindloom.edits import CellEdit, apply, watched
from mindloom.registry import Registry
from mindspore import nn

LOG = logging.getLogger("mindloom")


class Named(nn.Cell):
    """What takes a cell's place here."""


class Block(nn.Cell):
    """A cell within a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.ReLU()


class Net(nn.Cell):
    """A cell, and a nested one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block = nn.ReLU(), Block()


def claim(*names: str, build: Any = lambda name, cell: Named()) -> CellEdit:
    return CellEdit(lambda name, cell: name in names, build, "a test")


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("firm", ["block", "block.dense"])
def test_a_claim_that_yields_gives_way_to_one_on_the_cell_or_around_it(order: tuple[str, str], firm: str) -> None:
    net = Net()
    soft = replace(claim("first", "block.dense"), yields=True)
    hard = claim(firm, build=lambda name, cell: cell)
    edits = {"a": hard, "b": soft}
    assert apply([net], [(owner, edits[owner]) for owner in order], LOG) == {"a": 1, "b": 1}
    assert isinstance(net.first, Named)
    assert not isinstance(net.block.dense, Named)


def test_two_claims_that_both_yield_are_refused() -> None:
    soft = [replace(claim("first"), yields=True) for _ in range(2)]
    with pytest.raises(UserError, match="both replace the cell first"):
        apply([Net()], [("a", soft[0]), ("b", soft[1])], LOG)


def test_an_edit_that_computes_the_same_does_not_count_as_altering(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    net = Net()
    assert apply([net], [("a", replace(claim("first"), alters=False)), ("b", claim("block"))], LOG) == {"b": 1}
    assert isinstance(net.first, Named)
    assert "a replaced 1 cells" in caplog.text


def test_watching_an_edit_leaves_what_it_says_of_itself() -> None:
    class Swap(Plugin):
        @hookimpl
        def edit_model(self) -> list[CellEdit]:
            return []

    edit = watched(Registry({"swap": Swap()}, Defaults()), "swap", replace(claim("first"), yields=True, alters=False))
    assert edit.yields
    assert not edit.alters
