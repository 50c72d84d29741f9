"""Keys of compiled graphs: whatever a graph could be made of changes them, and nothing else does."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom.graphs import key
from mindloom.graphs.fingerprint import UnsureError, fingerprint
from mindspore import Parameter, nn
from mindspore import ops as P

SOURCE = """
import mindspore as ms
from mindspore import nn
import constants
from constants import inner

FACTOR = 1.0

def scaled(x, by=1.0):
    return x * FACTOR * by

@ms.constexpr
def folded():
    return FACTOR

class Helper:
    __slots__ = ("slot",)
    shared = 1.0

    @property
    def factor(self):
        return PROPERTY

    def times(self, x):
        return x * METHOD

PROPERTY = METHOD = 1.0

def made(by):
    def closed(x):
        return x * by
    return closed

def beside():
    import constants
    class Local(nn.Cell):
        def construct(self, x):
            return x * constants.LOCAL
    return Local()

class Model(nn.Cell):
    def __init__(self):
        super().__init__()
        self.helper, self.closed, self.number, self.local = Helper(), made(1.0), 1.0, beside()
        self.helper.slot = 1.0

    def construct(self, x):
        return scaled(x) * constants.ELSEWHERE * inner.DEEP * self.helper.factor * folded() + self.number
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module with a cell, and a package that it takes constants from."""
    constants, inner = types.ModuleType("constants"), types.ModuleType("constants.inner")
    constants.__dict__.update(ELSEWHERE=1.0, LOCAL=1.0, UNUSED=1.0, inner=inner)
    inner.__dict__.update(DEEP=1.0)
    made = types.ModuleType("made")
    for found in (constants, inner, made):
        monkeypatch.setitem(sys.modules, found.__name__, found)
    exec(SOURCE, made.__dict__)
    return made


def digest(cell: nn.Cell) -> str:
    return fingerprint(cell, [])[0]


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "a global": lambda module, model: setattr(module, "FACTOR", 2.0),
    "what a property takes": lambda module, model: setattr(module, "PROPERTY", 2.0),
    "what a method takes": lambda module, model: setattr(module, "METHOD", 2.0),
    "a constant of a module": lambda module, model: setattr(module.constants, "ELSEWHERE", 2.0),
    "a constant of a module in a module": lambda module, model: setattr(module.inner, "DEEP", 2.0),
    "a constant of a module that a function imports": lambda module, model: setattr(module.constants, "LOCAL", 2.0),
    "an attribute": lambda module, model: setattr(model, "number", 2.0),
    "its type": lambda module, model: setattr(model, "number", 1),
    "a slot": lambda module, model: setattr(model.helper, "slot", 2.0),
    "an attribute of a class": lambda module, model: setattr(module.Helper, "shared", 2.0),
    "a default": lambda module, model: setattr(module.scaled, "__defaults__", (2.0,)),
    "a closure": lambda module, model: setattr(model, "closed", module.made(2.0)),
    "a method": lambda module, model: setattr(module.Helper, "times", lambda self, x: x),
    "the mode": lambda module, model: model.set_train(),
    "a precision": lambda module, model: model.to_float(ms.float16),
    "a parameter more": lambda module, model: setattr(model, "weight", Parameter(ms.Tensor(1.0), name="weight")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_graph_could_be_made_of_changes_the_key(change: Callable[[Any, Any], object], module: Any) -> None:
    model = module.Model()
    before = digest(model)
    change(module, model)
    assert digest(model) != before


def test_equal_cells_have_equal_keys_whatever_lies_beside_them(module: Any) -> None:
    before = digest(module.Model())
    module.constants.UNUSED = 2.0
    assert digest(module.Model()) == before
    assert {"made", "constants", "constants.inner"} <= fingerprint(module.Model(), [])[2]


class Stacked(nn.Cell):
    """Uses an operator in which MindSpore leaves notes when it compiles it."""

    def __init__(self, weight: float = 1.0, axis: int = 0, constant: float = 1.0) -> None:
        super().__init__()
        self.weight = Parameter(ms.Tensor(np.full(3, weight, np.float32)), name="weight")
        self.constant, self.stack = ms.Tensor(constant, ms.float32), P.Stack(axis)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.stack((x * self.constant, self.weight))


def test_neither_values_of_parameters_nor_earlier_compilations_count_but_other_tensors_do() -> None:
    first, before = Stacked(), digest(Stacked())
    ms.set_context(mode=ms.GRAPH_MODE)
    first(ms.Tensor(np.ones(3, np.float32)))
    assert digest(first) == digest(Stacked(weight=2.0)) == before
    assert digest(Stacked(axis=1)) != before
    assert digest(Stacked(constant=2.0)) != before


def test_a_parameter_that_the_cell_does_not_know_is_refused() -> None:
    model = Stacked()
    model.__dict__["hidden"] = [Parameter(ms.Tensor(1.0), name="hidden")]
    with pytest.raises(UnsureError, match="hidden is used"):
        digest(model)


def test_a_module_that_no_code_names_is_refused(module: Any) -> None:
    model = module.Model()
    model.library = module.constants
    with pytest.raises(UnsureError, match="keeps the module constants"):
        digest(model)


def test_mindspores_global_state_counts() -> None:
    before = key.context()
    ms.set_context(max_call_depth=999)
    try:
        assert key.context() != before
    finally:
        ms.set_context(max_call_depth=1000)
    assert key.context() == before


@dataclass
class Named:
    """Stands for ``mindspore.hal`` on a machine with a chip."""

    name: str

    def get_device_name(self, device_id: int, device_target: str) -> str:
        """As MindSpore does; or fail as it might."""
        if not self.name:
            raise RuntimeError("the device is not set up")
        return self.name if self.name != "-" else ""


def test_each_chip_has_its_own_graphs_and_one_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key.chip("CPU") == ""
    monkeypatch.setattr(ms, "hal", Named("Ascend910B2"))
    assert key.chip("Ascend") == "Ascend910B2"
    for nameless in ("", "-"):
        monkeypatch.setattr(ms, "hal", Named(nameless))
        with pytest.raises(OSError, match="does not say which Ascend"):
            key.chip("Ascend")


def test_an_edited_file_counts_and_a_picture_beside_it_does_not(tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text("a = 1")
    before = key.code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("b")
    assert key.code_digest(tmp_path) == before
    (tmp_path / "cell.py").write_text("a = 2")
    assert key.code_digest(tmp_path) != before
