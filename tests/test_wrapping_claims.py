"""Claims around claims: cells that do the work of what they hold, as long as that computes the same."""

from __future__ import annotations

import logging
from collections.abc import Callable

import mindspore as ms
import pytest
from mindloom import UserError
from mindloom.build import name_parameters
from mindloom.edits import CellEdit, apply, survey
from mindspore import nn
from mindspore import ops as P

LOG = logging.getLogger("mindloom")


class Leaf(nn.Cell):
    """x plus a parameter, which is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = ms.Parameter(ms.Tensor([1.0]))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x + self.shift


class Same(Leaf):
    """As a leaf, by another implementation."""

    def __init__(self, plain: Leaf) -> None:
        super().__init__()
        self.shift = plain.shift


class Pair(nn.Cell):
    """Two leaves, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Leaf(), Leaf()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.second(self.first(x))


class Outer(nn.Cell):
    """A pair, which another cell holds as well, and a leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.last = Pair(), Leaf()
        self.list = nn.CellList([self.pair])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.last(self.pair(x))


class Fused(nn.Cell):
    """Holds the cells of another one."""

    def __init__(self, plain: nn.Cell) -> None:
        super().__init__()
        self.found = [type(cell) for cell in plain.cells()]
        for name, cell in plain.name_cells().items():
            setattr(self, name, cell)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x


class Model(nn.Cell):
    """The outer cell under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = Outer()
        self.again = self.outer

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.again(self.outer(x))


def claim(kind: type[nn.Cell], build: Callable[[nn.Cell], nn.Cell], **more: bool) -> CellEdit:
    return CellEdit(lambda name, cell: type(cell) is kind, lambda name, cell: build(cell), build.__name__, **more)


FUSED, LEAVES = claim(Pair, Fused, wraps=True), claim(Leaf, Same, equal=True)


def kinds(model: Model) -> list[str]:
    pair = model.outer.pair
    return [type(cell).__name__ for cell in (model.outer, pair, pair.first, pair.second, model.outer.last)]


@pytest.mark.parametrize("edits", [[FUSED, LEAVES], [LEAVES, FUSED]])
def test_a_cell_that_wraps_is_built_around_what_replaced_its_children(edits: list[CellEdit]) -> None:
    model = Model()
    assert apply([model], [("ab"[i], edit) for i, edit in enumerate(edits)], LOG) == {
        "ab"[edits.index(FUSED)]: 1,
        "ab"[edits.index(LEAVES)]: 3,
    }
    assert kinds(model) == ["Outer", "Fused", "Same", "Same", "Same"]
    assert model.outer.pair.found == [Same, Same]


def test_it_stands_wherever_the_old_one_stood_and_no_name_changes() -> None:
    model, loss = Model(), nn.SequentialCell()
    loss.append(model.outer.pair)
    names = [name for name, _ in model.parameters_and_names()]
    apply([model, loss], [("a", FUSED), ("b", LEAVES)], LOG)
    pair = model.outer.pair
    assert type(pair) is Fused
    assert pair is model.again.pair is model.outer.list[0] is loss[0]
    name_parameters(model)
    assert [param.name for param in model.get_parameters()] == names


def test_it_is_dropped_around_what_computes_something_else() -> None:
    model = Model()
    edits = [("a", FUSED), ("b", claim(Leaf, Same))]
    assert [claim.name for claim in survey(model, edits)[0]] == ["outer.pair.first", "outer.pair.second", "outer.last"]
    assert apply([model], edits, LOG) == {"b": 3}
    assert kinds(model) == ["Outer", "Pair", "Same", "Same", "Same"]


def test_one_that_computes_something_else_spoils_only_what_is_around_it() -> None:
    model = Model()
    model.other = Pair()
    strict = CellEdit(lambda name, _: name == "outer.pair.second", lambda name, cell: Same(cell), "")
    assert apply([model], [("a", FUSED), ("b", strict)], LOG) == {"a": 1, "b": 1}
    assert (type(model.outer.pair), type(model.other)) == (Pair, Fused)


def test_cells_that_wrap_may_lie_within_others_that_do() -> None:
    model = Model()
    both = [("a", claim(Outer, Fused, wraps=True)), ("b", claim(Pair, Fused, wraps=True, equal=True)), ("c", LEAVES)]
    apply([model], both, LOG)
    assert kinds(model) == ["Fused", "Fused", "Same", "Same", "Same"]
    assert model.again is model.outer
    assert model.outer.found == [Fused, Same, nn.CellList]
    assert model.outer.list[0] is model.outer.pair


def test_around_what_does_not_wrap_an_equal_claim_is_refused_as_ever() -> None:
    with pytest.raises(UserError, match=r"plugins 'a' and 'b' both replace the cell outer.pair.first \(edit_model\)"):
        apply([Model()], [("a", claim(Pair, Fused)), ("b", LEAVES)], LOG)


def test_two_claims_on_a_cell_are_refused_though_one_of_them_wraps() -> None:
    with pytest.raises(UserError, match=r"plugins 'a' and 'b' both replace the cell outer.pair \(edit_model\)"):
        apply([Model()], [("a", FUSED), ("b", claim(Pair, Fused, wraps=True))], LOG)


def test_only_the_claim_that_wraps_is_dropped_and_others_on_its_cell_are_still_refused() -> None:
    with pytest.raises(UserError, match=r"plugins 'b' and 'c' both replace the cell outer.pair.first"):
        apply([Model()], [("a", FUSED), ("b", claim(Pair, Pair)), ("c", claim(Leaf, Same))], LOG)


@pytest.mark.parametrize("yielding", ["outer", "inner"])
def test_what_yields_gives_way_to_a_wrapping_claim_around_it_but_not_to_one_inside_it(yielding: str) -> None:
    outer = claim(Pair, Fused, wraps=True, yields=yielding == "outer")
    inner = claim(Leaf, Same, equal=True, yields=yielding == "inner")
    model = Model()
    apply([model], [("a", outer), ("b", inner)], LOG)
    leaf = "Same" if yielding == "outer" else "Leaf"
    assert kinds(model) == ["Outer", "Fused", leaf, leaf, "Same"]


def test_the_wrapped_cell_computes_what_takes_its_children_place() -> None:
    class Through(Fused):
        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return self.neg(self.second(self.first(x)))

    def build(cell: nn.Cell) -> nn.Cell:
        made = Through(cell)
        made.neg = P.Neg()
        return made

    model = Model()
    apply([model], [("a", claim(Pair, build, wraps=True)), ("b", LEAVES)], LOG)
    assert model.outer(ms.Tensor([2.0])).asnumpy() == -3.0
