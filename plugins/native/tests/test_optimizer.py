"""AdamW in one node: the core's update, written in place, in order, in every kind of step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom.optim import AdamW, ClipByGlobalNorm, GlobalNorm, decay_of
from mindloom.precision import LossScale
from mindloom.scaling import ScaledStep
from mindloom.step import StepParts, TrainStep
from mindloom_native.compile import library
from mindloom_native.optimizer import NativeAdamW, NativeNorm, fuse, limits
from mindspore import Parameter, nn
from mindspore import ops as P

ms.set_device("CPU")  # before the first operation; later runs in this process cannot do it any more
SHAPES = {"two": (2,), "vector": (33,), "matrix": (7, 5), "conv": (16, 3, 3, 3), "long": (3, 20001)}
RATES = [1e-2, 3e-2, 0.0, 2e-2, 1e-3, 1e-2]


@pytest.fixture(autouse=True)
def _graph() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


def arrays(seed: int, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(np.float32) for shape in SHAPES.values()]


class Model(nn.Cell):
    """A loss whose gradients are as large as the parameters' distances from the targets, times a column."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = ms.ParameterTuple(
            [Parameter(ms.Tensor(array), name=name) for name, array in zip(SHAPES, arrays(0), strict=True)]
        )
        self.targets = tuple(ms.Tensor(array) for array in arrays(1))
        self.sum = P.ReduceSum()

    def construct(self, factor: ms.Tensor) -> ms.Tensor:
        loss = factor.sum() * 0.0
        for i in range(len(self.targets)):
            distance = self.weights[i] - self.targets[i]
            loss = loss + self.sum(distance * distance) * factor.sum()
        return loss


def steps(native: bool, limit: float = 0.0, **more: Any) -> TrainStep:
    """A whole step with decay for all that are no vectors, clipping to ``limit``."""
    model = Model()
    params = model.trainable_params()
    optimizer: nn.Cell = AdamW(params, (0.9, 0.99), 1e-8, [decay_of(param, 0.5, False) for param in params])
    if native:
        assert isinstance(optimizer, AdamW)
        optimizer = NativeAdamW(optimizer, library())
    parts = StepParts(model, params, optimizer, grad_ops=[ClipByGlobalNorm(limit)] if limit else [], **more)
    step = ScaledStep(parts, parts.scale) if parts.scale else TrainStep(parts)
    step.set_train()
    if native:
        fuse(step)
    return step


def state(step: nn.Cell) -> dict[str, np.ndarray]:
    return {param.name: param.asnumpy().copy() for param in step.get_parameters()}


def assert_same(ours: nn.Cell, theirs: nn.Cell, limit: float = 1e-6) -> None:
    one, other = state(ours), state(theirs)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=limit, atol=limit * np.abs(other[name]).max(), err_msg=name)


def column(step: int) -> np.ndarray:
    return np.array([[0.5, 1.5], [0.1, -0.3], [2.0, 2.0]][step % 3], np.float32)


@pytest.mark.parametrize(
    ("limit", "more"),
    [
        (0.0, {}),
        (1.0, {}),
        (1e9, {}),
        (1.0, {"accumulate": 2}),
        (1.0, {"scale": LossScale(1024.0)}),
    ],
)
def test_steps_leave_what_the_cores_steps_leave(limit: float, more: dict[str, Any]) -> None:
    ours, theirs = steps(True, limit, **more), steps(False, limit, **more)
    before = state(ours)
    for count, rate in enumerate(RATES):
        rows = np.stack([column(count)] * 2) if "accumulate" in more else column(count)
        found, expected = (step(ms.Tensor(rate, ms.float32), ms.Tensor(rows)) for step in (ours, theirs))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-6)
    assert_same(ours, theirs)
    assert float(state(ours)["optimizer_steps"]) == len(RATES)
    assert all(not np.array_equal(before[name], array) for name, array in state(ours).items() if name in SHAPES)


class Loop(nn.Cell):
    """Several steps in one dispatch, as a sink does them."""

    def __init__(self, step: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.step = step

    def construct(self, count: ms.Tensor, rates: ms.Tensor, columns: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        place, outputs = ms.Tensor(0, ms.int32), (ms.Tensor(0.0, ms.float32), ms.Tensor(0.0, ms.float32))
        while place < count:
            outputs = self.step(rates[place], columns[place])
            place = place + 1
        return outputs


def test_a_loop_inside_the_graph_is_bit_for_bit_the_loop_outside() -> None:
    inside, outside = steps(True, 1.0), steps(True, 1.0)
    rows = np.stack([column(count) for count in range(len(RATES))])
    last = Loop(inside)(ms.Tensor(len(RATES), ms.int32), ms.Tensor(RATES, ms.float32), ms.Tensor(rows))
    for count, rate in enumerate(RATES):
        outputs = outside(ms.Tensor(rate, ms.float32), ms.Tensor(column(count)))
    assert [float(one.asnumpy()) for one in last] == [float(one.asnumpy()) for one in outputs]
    for name, array in state(outside).items():
        assert np.array_equal(state(inside)[name], array), name


class Around(nn.Cell):
    """Reads a parameter before and after the update: as a new tensor, and as the parameter itself."""

    def __init__(self, step: TrainStep) -> None:
        super().__init__(auto_prefix=False)
        self.step = step
        self.watched = step.params[2]

    def construct(self, lr: ms.Tensor, factor: ms.Tensor) -> tuple[ms.Tensor, ...]:
        kept = self.watched
        copied = self.watched + 0.0
        self.step(lr, factor)
        return copied, kept * 1.0, self.watched * 1.0


def test_reads_before_the_update_see_the_old_and_reads_after_it_the_new_weights() -> None:
    results = []
    for native in (True, False):
        step = steps(native, 1.0)
        before = step.params[2].asnumpy().copy()
        found = [x.asnumpy() for x in Around(step)(ms.Tensor(1e-2, ms.float32), ms.Tensor(column(0)))]
        assert np.array_equal(found[0], before)
        assert np.array_equal(found[2], step.params[2].asnumpy())
        assert not np.array_equal(found[2], before)
        results.append(found)
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_state_of_either_continues_with_the_other() -> None:
    mixed, plain = [steps(True), steps(False)], steps(False)
    for count, rate in enumerate(RATES):
        now, then = mixed[count % 2], mixed[1 - count % 2]
        for step in (now, plain):
            step(ms.Tensor(rate, ms.float32), ms.Tensor(column(count)))
        for param in then.get_parameters():
            param.set_data(ms.Tensor(state(now)[param.name]))
    assert_same(mixed[0], plain)


def test_a_gradient_that_is_not_a_number_is_not_hidden_by_clipping() -> None:
    ours, theirs = steps(True, 1.0), steps(False, 1.0)
    for step in (ours, theirs):
        step(ms.Tensor(1e-2, ms.float32), ms.Tensor(np.full(2, np.nan, np.float32)))
        assert all(np.isnan(state(step)[name]).all() for name in SHAPES)


class Applied(nn.Cell):
    """Spreads gradients over arguments: MindSpore takes the tensors of a tuple argument for constants."""

    def __init__(self, inner: nn.Cell) -> None:
        super().__init__()
        self.inner = inner

    def construct(self, *gradients: ms.Tensor) -> ms.Tensor:
        return self.inner(gradients)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_the_norm_is_that_of_the_core_within_the_range_of_float32(scale: float) -> None:
    values = [ms.Tensor(array) for array in arrays(5, scale)]
    ours, theirs = (float(Applied(cell)(*values)) for cell in (NativeNorm(library()), GlobalNorm()))
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_hundreds_of_parameters_are_one_node() -> None:
    class Many(nn.Cell):
        """As many parameters as wanted."""

        def __init__(self) -> None:
            super().__init__()
            self.weights = ms.ParameterTuple([Parameter(ms.Tensor([float(i)]), name=f"w{i}") for i in range(300)])
            self.add = P.AddN()

        def construct(self, factor: ms.Tensor) -> ms.Tensor:
            return (self.add(self.weights) * factor).sum()

    model = Many()
    plain = AdamW(model.trainable_params(), (0.9, 0.999), 1e-8, [0.0] * 300)
    step = TrainStep(StepParts(model, model.trainable_params(), NativeAdamW(plain, library())))
    fuse(step)
    step(ms.Tensor(0.5, ms.float32), ms.Tensor([1.0], ms.float32))
    found = np.array([float(param.asnumpy()[0]) for param in model.weights])
    np.testing.assert_allclose(found, np.arange(300) - 0.5, rtol=1e-6)


def test_eager_mode_updates_in_place() -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ours, theirs = steps(True, 1.0), steps(False, 1.0)
    for step in (ours, theirs):
        for count, rate in enumerate(RATES):
            step(ms.Tensor(rate, ms.float32), ms.Tensor(column(count)))
    assert_same(ours, theirs)


def test_other_dtypes_are_told() -> None:
    make: Callable[[Any], Parameter] = lambda dtype: Parameter(ms.Tensor(np.ones(2), dtype))  # noqa: E731
    assert limits([make(ms.float32)]) == ""
    assert limits([make(ms.float16), make(ms.float32)]) == "1 of 2 parameters are not float32"
