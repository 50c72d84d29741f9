"""Averaged copies of parameters by themselves: filled late, exchanged and back again, saved and refused."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindloom import UserError
from mindloom.averages import Averages
from mindloom.snapshots import Host
from mindspore import Parameter, nn, ops


def parameter(name: str, dtype: str, value: float) -> Parameter:
    values = np.linspace(value, value + 1, 5, dtype=np.float32).astype(dtype)
    return Parameter(ms.Tensor(values), name=name, requires_grad=False)


class Sum(nn.Cell):
    """Of the elements of two parameters: reads them inside a compiled graph."""

    def __init__(self, first: Parameter, second: Parameter) -> None:
        super().__init__(auto_prefix=False)
        self.first, self.second = first, second
        self.sum, self.cast = ops.ReduceSum(), ops.Cast()

    def construct(self) -> ms.Tensor:
        return self.sum(self.cast(self.first, ms.float32)) + self.sum(self.second)


def made(dtype: str = "float32") -> tuple[Averages, list[Parameter], list[Parameter]]:
    params = [parameter("a", dtype, 1.1), parameter("b", "float32", 2.2)]
    copies = [parameter(f"mean.{param.name}", "float32", 5.3 + place) for place, param in enumerate(params)]
    counter = Parameter(ms.Tensor(3.0, ms.float32), name="mean_updates", requires_grad=False)
    averages = Averages("mean", list(zip(params, copies, strict=True)), (counter,))
    averages.fresh = False
    return averages, params, copies


def values(params: list[Parameter]) -> list[bytes]:
    return [param.asnumpy().tobytes() for param in params]


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_model_has_the_averages_inside_and_its_own_values_afterwards(dtype: str, mode: int) -> None:
    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        averages, params, copies = made(dtype)
        graph = Sum(*params)
        trained, averaged = values(params), values(copies)
        plain = float(graph().asnumpy())
        wanted = [copy.asnumpy().astype(param.asnumpy().dtype) for param, copy in averages.copies]
        for _ in range(2):
            with averages.shown():
                assert values(params) == [value.tobytes() for value in wanted]
                shown = float(graph().asnumpy())
            assert shown == pytest.approx(sum(float(value.astype(np.float32).sum()) for value in wanted))
            assert (values(params), values(copies)) == (trained, averaged)
            assert float(graph().asnumpy()) == plain
    finally:
        ms.set_context(mode=before)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_errors_inside_and_on_the_way_in_leave_everything_as_it_was(dtype: str) -> None:
    averages, params, copies = made(dtype)
    trained, averaged = values(params), values(copies)
    with pytest.raises(RuntimeError, match="inside"), averages.shown():
        raise RuntimeError("inside")
    assert (values(params), values(copies)) == (trained, averaged)
    odd = Parameter(ms.Tensor(np.zeros(3, np.float32)), name="odd", requires_grad=False)
    broken = Averages("mean", [*averages.copies, (params[0], odd)])
    broken.fresh = False
    with pytest.raises((RuntimeError, ValueError)), broken.shown():
        raise AssertionError("the shapes do not fit")
    assert values(copies) == averaged
    assert values(params) == trained


def test_fresh_averages_are_the_weights_and_begin_with_them_once() -> None:
    averages, params, copies = made()
    averages.fresh = True
    trained, zeros = values(params), values(copies)
    with averages.shown():
        assert values(params) == trained
    assert values(copies) == zeros
    averages.fill()
    assert values(copies) == trained
    params[0].set_data(ms.Tensor(np.zeros(5, np.float32)))
    averages.fill()
    assert values(copies) == trained


def test_what_is_saved_is_complete_and_comes_back() -> None:
    averages, _, copies = made()
    averaged = values(copies)
    saved = averages.arrays({"a": np.zeros(5), "b": np.zeros(5), "frozen": np.ones(2)}, Host())
    assert saved.keys() == {"a", "b", "frozen"}
    assert [saved["a"].tobytes(), saved["b"].tobytes()] == averaged
    assert averages.counts() == {"mean_updates": 3.0}
    other, _, copies = made()
    for copy in copies:
        copy.set_data(ms.Tensor(np.zeros(5, np.float32)))
    other.fresh = True
    other.load(saved, {"mean_updates": 8.0})
    assert values(copies) == averaged
    assert other.counts() == {"mean_updates": 8.0}
    assert not other.fresh


@pytest.mark.parametrize("saved", [{"a": np.zeros(5)}, {"a": np.zeros(5), "b": np.zeros(4)}], ids=["missing", "shape"])
def test_averages_of_another_model_are_refused(saved: dict[str, np.ndarray]) -> None:
    averages, _, _ = made()
    with pytest.raises(UserError, match=r"averages \(mean\) do not fit this run: b: resume with the config") as caught:
        averages.load(saved, {})
    assert caught.value.setting == "resume"
