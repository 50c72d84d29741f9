"""Claims on cells: who may replace what, receipts, and that the compiled step computes with the replacement."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.build import name_parameters
from mindloom.edits import CellEdit, apply
from mindloom.testing import Fitted, Toy, ToyTask, fit
from mindspore import Parameter, nn
from mindspore import ops as P

LOG = logging.getLogger("mindloom")


class Scale(nn.Cell):
    """x times a parameter."""

    def __init__(self, factor: float = 2.0, shape: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.factor = Parameter(ms.Tensor(np.full(shape, factor, np.float32)))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x * self.factor


class Shift(Scale):
    """x plus the same parameter."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x + self.factor


class Block(nn.Cell):
    """A cell within a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = Scale()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.scale(x)


class Net(nn.Cell):
    """A cell, a nested one, a sequence and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Scale()
        self.block = Block()
        self.sequence = nn.SequentialCell([Scale(), nn.ReLU()])
        self.list = nn.CellList([Scale(), Scale()])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.sequence(self.block(self.first(x)))
        for cell in self.list:
            x = cell(x)
        return x


def shifted(name: str, cell: nn.Cell) -> nn.Cell:
    """Share the claimed cell's parameter."""
    new = Shift()
    new.factor = cell.factor
    return new


def claim(*names: str, build: Callable[[str, nn.Cell], nn.Cell | None] = shifted, why: str = "to shift") -> CellEdit:
    return CellEdit(lambda name, cell: name in names, build, why)


def test_a_claimed_cell_is_replaced_wherever_it_stands() -> None:
    net = Net()
    totals = apply([net], [("a", claim("first", "block.scale", "sequence.0", "list.1"))], LOG)
    assert totals == {"a": 4}
    # ((((1 + 2) + 2) + 2) * 2) + 2: only list.0 still multiplies.
    assert net(ms.Tensor([1.0])).asnumpy() == 16.0
    assert isinstance(net.sequence[0], Shift)
    assert isinstance(net.list[1], Shift)
    name_parameters(net)
    names = [param.name for param in net.get_parameters()]
    assert names == ["first.factor", "block.scale.factor", "sequence.0.factor", "list.0.factor", "list.1.factor"]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize(("one", "other"), [("first", "first"), ("block", "block.scale"), ("block.scale", "block")])
def test_claims_that_meet_are_refused_naming_both(order: tuple[str, str], one: str, other: str) -> None:
    with pytest.raises(UserError, match=r"plugins .* both replace the cell .*: switch one off") as caught:
        apply([Net()], [(order[0], claim(one)), (order[1], claim(other))], LOG)
    assert "'a'" in str(caught.value)
    assert "'b'" in str(caught.value)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("firm", ["block", "block.scale"])
def test_a_claim_that_yields_gives_way_to_one_on_the_cell_or_around_it(order: tuple[str, str], firm: str) -> None:
    net = Net()
    soft = replace(claim("first", "block.scale"), yields=True)
    hard = claim(firm, build=lambda name, cell: cell)
    edits = {"a": hard, "b": soft}
    assert apply([net], [(owner, edits[owner]) for owner in order], LOG) == {"a": 1, "b": 1}
    assert isinstance(net.first, Shift)
    assert not isinstance(net.block.scale, Shift)


def test_two_claims_that_both_yield_are_refused() -> None:
    soft = [replace(claim("first"), yields=True) for _ in range(2)]
    with pytest.raises(UserError, match="both replace the cell first"):
        apply([Net()], [("a", soft[0]), ("b", soft[1])], LOG)


def test_an_edit_that_computes_the_same_does_not_count_as_altering(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    net = Net()
    assert apply([net], [("a", replace(claim("first"), alters=False)), ("b", claim("list.0"))], LOG) == {"b": 1}
    assert isinstance(net.first, Shift)
    assert "a replaced 1 cells" in caplog.text


def test_neighbours_with_a_common_beginning_of_their_names_do_not_meet() -> None:
    net = Net()
    net.first_too = Scale()
    assert apply([net], [("a", claim("first")), ("b", claim("first_too"))], LOG) == {"a": 1, "b": 1}


def test_a_builder_may_leave_a_cell_alone() -> None:
    net = Net()
    assert apply([net], [("a", claim("first", build=lambda name, cell: None))], LOG) == {}
    assert type(net.first) is Scale


def test_receipts_tell_how_many_cells_each_plugin_replaced_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    edits = [("a", claim("first", "list.0")), ("a", claim("list.1", why="for speed")), ("b", claim("block.scale"))]
    assert apply([Net()], edits, LOG) == {"a": 3, "b": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "a replaced 2 cells: to shift",
        "b replaced 1 cells: to shift",
        "a replaced 1 cells: for speed",
    ]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda name, cell: Shift(shape=(2,)), r"factor was \(1,\) and is now \(2,\)"),
        (lambda name, cell: nn.Identity(), r"factor was \(1,\) and is now absent"),
        (lambda name, cell: Block(), r"factor was \(1,\) and is now absent"),
    ],
)
def test_other_parameters_are_refused_naming_plugin_cell_and_parameter(build: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"plugin 'a' replaced first by a cell with other parameters: {words}"):
        apply([Net()], [("a", claim("first", build=build))], LOG)


def test_a_replacement_with_new_parameters_takes_over_values_names_and_freezing() -> None:
    net = Net()
    name_parameters(net)
    net.first.factor.set_data(ms.Tensor([7.0]))
    net.first.factor.requires_grad = False
    apply([net], [("a", claim("first", build=lambda name, cell: Shift(0.0)))], LOG)
    factor = net.first.factor
    assert (float(factor.asnumpy()[0]), factor.name, factor.requires_grad) == (7.0, "first.factor", False)


def test_a_cell_shared_with_another_root_is_replaced_there_too() -> None:
    net = Net()

    class Loss(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.part = net.first

        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return self.part(x)

    loss = Loss()
    apply([net, loss], [("a", claim("first"))], LOG)
    assert loss.part is net.first
    assert loss(ms.Tensor([1.0])).asnumpy() == 3.0


class Twice(nn.Cell):
    """One cell under two names, and inside another cell."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Scale()
        self.block = Block()
        self.other, self.block.scale = self.one, self.one

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.block(self.other(self.one(x)))


@pytest.mark.parametrize("name", ["one", "other", "block.scale"])
def test_a_shared_cell_is_found_by_each_of_its_names_and_replaced_under_all(name: str) -> None:
    net = Twice()
    assert apply([net], [("a", claim(name))], LOG) == {"a": 1}
    assert isinstance(net.one, Shift)
    assert net.one is net.other is net.block.scale
    assert net(ms.Tensor([1.0])).asnumpy() == 7.0
    assert apply([Twice()], [("a", claim("one", "other", "block.scale"))], LOG) == {"a": 1}


@pytest.mark.parametrize(("one", "other"), [("one", "other"), ("other", "block"), ("block", "one")])
def test_claims_that_meet_in_a_shared_cell_are_refused_whatever_its_name(one: str, other: str) -> None:
    with pytest.raises(UserError, match=r"plugins '[ab]' and '[ab]' both replace the cell"):
        apply([Twice()], [("a", claim(one)), ("b", claim(other))], LOG)


def test_a_replacement_may_wrap_what_it_replaces() -> None:
    class Negative(nn.Cell):
        def __init__(self, inner: nn.Cell) -> None:
            super().__init__()
            self.inner, self.neg = inner, P.Neg()

        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return self.neg(self.inner(x))

    model, loss = nn.SequentialCell([nn.ReLU()]), nn.SequentialCell([])
    loss.append(model)
    apply([model, loss], [("a", claim("0", build=lambda name, cell: Negative(cell)))], LOG)
    assert loss(ms.Tensor([2.0])).asnumpy() == -2.0


class Swap(Plugin):
    """Replaces the toy's inner cell by one that takes the opposite."""

    @hookimpl
    def edit_model(self, run: Any, model: nn.Cell) -> list[CellEdit]:
        return [claim("inner", build=lambda name, cell: Opposite())]


class Opposite(nn.Cell):
    """-x."""

    def __init__(self) -> None:
        super().__init__()
        self.neg = P.Neg()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.neg(x)


class Nested(Toy):
    """A toy whose loss takes a part of its model apart from the rest, as a real task does."""

    @hookimpl
    def make_task(self) -> Any:
        task = ToyTask(self.cfg.width)
        linear = task.model

        class Model(nn.Cell):
            def __init__(self) -> None:
                super().__init__()
                self.linear, self.inner = linear, nn.Identity()

        class Loss(nn.Cell):
            def __init__(self, model: nn.Cell) -> None:
                super().__init__()
                self.linear, self.part, self.mean = model.linear, model.inner, P.ReduceMean()

            def construct(self, inputs: ms.Tensor, targets: ms.Tensor) -> ms.Tensor:
                error = self.linear(self.part(inputs)) - targets
                return self.mean(error * error)

        task.model = Model()
        task.loss = Loss(task.model)
        task.cells = (nn.SequentialCell([task.model.inner]),)
        return task


def test_the_compiled_step_trains_with_the_replacement_and_the_run_remembers_who_altered_it(tmp_path: Path) -> None:
    def run(name: str, *plugins: type[Plugin]) -> tuple[Fitted, Any]:
        (tmp_path / name).mkdir()
        fitted = fit(tmp_path / name, {"toy": Nested, **{p.__name__.lower(): p for p in plugins}}, steps=2)
        return fitted, fitted.plugins["recorder"].run  # type: ignore[attr-defined]

    plain, before = run("plain")
    swapped, after = run("swapped", Swap)
    # The weights start from zero, so the first loss is equal and the gradient is the opposite.
    assert plain.losses[0] == swapped.losses[0]
    np.testing.assert_allclose(plain.weights["linear.weight"], -swapped.weights["linear.weight"], rtol=0.3)
    assert (before.altered_by, after.altered_by) == ([], ["swap"])
    assert [type(run.task.cells[0][0]) for run in (before, after)] == [nn.Identity, Opposite]
