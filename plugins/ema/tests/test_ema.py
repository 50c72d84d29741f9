"""The average against NumPy, under whatever drives or changes the step, and settings that are refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.testing import Fitted, fit
from mindloom_ema import Ema

TRAINED = ("weight", "bias")
Values = dict[str, np.ndarray]


class Trail(Plugin):
    """Notes weights and averages after every dispatch, and the weights before training."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.weights: list[Values] = []
        self.averages: list[Values] = []
        self.counts: dict[str, float] = {}

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Those before."""
        self.weights.append(self.trained(run))

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Those after."""
        self.weights.append(self.trained(run))
        if run.averages is not None:
            self.averages.append({param.name: copy.asnumpy().copy() for param, copy in run.averages.copies})
            self.counts = run.averages.counts()

    @staticmethod
    def trained(run: Any) -> Values:
        return {param.name: param.asnumpy().copy() for param in run.task.model.trainable_params()}


def train(folder: Path, name: str = "run", plugins: dict[str, Any] | None = None, **more: Any) -> Fitted:
    """Train the toy task in a folder of its own; ``ema`` holds the plugin's settings, None leaves it off."""
    place = folder / name
    place.mkdir(exist_ok=True)
    settings = more.pop("ema", {})
    sections = {**({} if settings is None else {"ema": settings}), **more.pop("sections", {})}
    classes: dict[str, Any] = {**({} if settings is None else {"ema": Ema}), **(plugins or {}), "trail": Trail}
    return fit(place, classes, **{"plugins": sections, "optim": {"lr": 0.1}, **more})


def trail(fitted: Fitted) -> Trail:
    found = fitted.plugins["trail"]
    assert isinstance(found, Trail)
    return found


def expected(weights: list[Values], decay: float, warmup: bool = True, every: int = 1, start: int = 0) -> list[Values]:
    """The definition in float32: d = min(decay, (1 + n) / (10 + n)), so 1 - d = max(1 - decay, 9 / (10 + n))."""
    average, trace, n = weights[0], [], 0
    for step, now in enumerate(weights[1:], 1):
        if step <= start:
            average = now
        elif (step - start) % every == 0:
            n += 1
            rate = np.float32(1 - decay)
            rate = max(rate, np.float32(9) / np.float32(10 + n)) if warmup else rate
            average = {name: value - (value - now[name]) * rate for name, value in average.items()}
        trace.append(average)
    return trace


def assert_equal(found: list[Values], wanted: list[Values]) -> None:
    assert len(found) == len(wanted)
    for step, (one, other) in enumerate(zip(found, wanted, strict=True), 1):
        assert one.keys() == other.keys() == set(TRAINED)
        for name in TRAINED:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{name} at step {step}", strict=True)


@pytest.mark.parametrize(
    "ema",
    [
        {"decay": 0.9999},
        {"decay": 0.3},
        {"decay": 0.5, "warmup": False},
        {"decay": 0.9, "every": 2},
        {"decay": 0.9, "start": 2},
        {"decay": 0.9, "start": 2, "every": 3},
    ],
    ids=str,
)
def test_the_average_is_the_definition_bit_for_bit(tmp_path: Path, ema: dict[str, Any]) -> None:
    seen = trail(train(tmp_path, steps=7, ema=ema))
    assert_equal(seen.averages, expected(seen.weights, **ema))
    assert any((seen.averages[-1][name] != seen.weights[-1][name]).any() for name in TRAINED)
    updates = (7 - ema.get("start", 0)) // ema.get("every", 1)
    assert seen.counts == {"ema_updates": updates, "ema_steps": 7.0}


def test_training_is_bit_for_bit_the_same_with_and_without(tmp_path: Path) -> None:
    core = {"gradient_accumulation_steps": 3, "steps": 5}
    on, off = train(tmp_path, "on", ema={"every": 2}, **core), train(tmp_path, "off", ema=None, **core)
    assert on.losses == off.losses
    assert [record.keys() for record in on.records] == [record.keys() for record in off.records]
    assert all(np.array_equal(on.weights[name], value) for name, value in off.weights.items())


def test_accumulation_updates_once_a_step(tmp_path: Path) -> None:
    seen = trail(train(tmp_path, steps=4, gradient_accumulation_steps=3))
    assert_equal(seen.averages, expected(seen.weights, 0.9999))


class Looped(Plugin):
    """Several steps in one graph, in a loop over stacked batches, as a data sink does on a CPU."""

    size = 2

    @hookimpl
    def make_stepper(self, run: Any, step: Any, dataset: Any) -> Any:
        """Drive it."""
        from mindloom.step import StepResult
        from mindspore import nn

        class Loop(nn.Cell):
            def __init__(self) -> None:
                super().__init__(auto_prefix=False)
                self.step, self.zero = step, ms.Tensor(0.0, ms.float32)

            def construct(self, count: ms.Tensor, lrs: ms.Tensor, inputs: ms.Tensor, targets: ms.Tensor) -> Any:
                outputs, place = (self.zero, self.zero), ms.Tensor(0, ms.int32)
                while place < count:
                    outputs = self.step(lrs[place], inputs[place], targets[place])
                    place = place + 1
                return outputs

        loop = Loop()
        loop.set_train()
        for first in range(run.step, run.last_step, self.size):
            batches = list(dataset.batches(first, first + self.size))
            columns = [ms.Tensor(np.stack(column)) for column in zip(*(b.columns for b in batches), strict=True)]
            lrs = ms.Tensor([run.schedule(batch.step) for batch in batches], ms.float32)
            outputs = loop(ms.Tensor(len(batches), ms.int32), lrs, *columns)
            yield StepResult(len(batches), 0.1, dict(zip(step.outputs, outputs, strict=True)))


class Looped3(Looped):
    """Three."""

    size = 3


@pytest.mark.parametrize("loop", [Looped, Looped3])
@pytest.mark.parametrize("ema", [{"decay": 0.9}, {"decay": 0.9, "start": 1, "every": 2}], ids=str)
def test_a_loop_inside_the_graph_changes_nothing(tmp_path: Path, loop: type[Looped], ema: dict[str, Any]) -> None:
    single = trail(train(tmp_path, "single", steps=6, ema=ema))
    looped = trail(train(tmp_path, "looped", {"looped": loop}, steps=6, ema=ema))
    assert_equal(looped.averages, single.averages[loop.size - 1 :: loop.size])


class Overflow(Plugin):
    """A scaled loss, and float16 weights if asked; batches 1 and 3 overflow."""

    param_dtype = "float32"

    @hookimpl
    def make_precision(self) -> Any:
        """Scale by 4."""
        from mindloom.precision import LossScale, Precision

        return Precision(self.param_dtype, "float32", scale=LossScale(4.0))

    @hookimpl(wrapper=True)
    def make_dataset(self) -> Any:
        """Blow two batches up."""
        dataset = yield
        inner = dataset.batches

        def batches(first: int, last: int) -> Any:
            for batch in inner(first, last):
                if batch.step in (1, 3):
                    batch.columns[0][:] = np.inf
                yield batch

        dataset.batches = batches
        return dataset


class HalfOverflow(Overflow):
    """With float16 weights."""

    param_dtype = "float16"


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("kind", [Overflow, HalfOverflow])
def test_a_skipped_step_updates_nothing(tmp_path: Path, kind: type[Overflow], every: int) -> None:
    seen = trail(train(tmp_path, plugins={"overflow": kind}, steps=6, ema={"decay": 0.9, "every": every}))
    assert {value.dtype.name for value in seen.weights[-1].values()} == {kind.param_dtype}
    single = [{name: value.astype(np.float32) for name, value in values.items()} for values in seen.weights]
    due = [step for step in range(1, 7) if step % every == 0 and step not in (2, 4)]
    taken = expected([single[0], *(single[step] for step in due)], 0.9)
    wanted = [taken[sum(step <= now for step in due) - 1] if now >= due[0] else single[0] for now in range(1, 7)]
    assert_equal(seen.averages, wanted)
    assert seen.counts["ema_updates"] == len(due)


@pytest.mark.parametrize(
    ("ema", "words", "key"),
    [
        ({"decay": 1.0}, "decay must be from 0 to below 1, not 1", "decay"),
        ({"decay": -0.1}, "decay must be from 0 to below 1, not -0.1", "decay"),
        ({"every": 0}, "every must be at least 1, not 0", "every"),
        ({"start": -1}, "start must be at least 0, not -1", "start"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, ema: dict[str, Any], words: str, key: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        train(tmp_path, ema=ema)
    assert caught.value.setting == f"plugins.ema.{key}"


def test_two_averages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="both average the weights: switch one off with --plugins no:"):
        train(tmp_path, plugins={"ema2": Ema})


def test_a_name_that_checkpoints_need_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be called 'model': rename it"):
        train(tmp_path, ema=None, plugins={"model": Ema})


def test_it_says_what_it_costs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    train(tmp_path, steps=1)
    assert "averaging 0.00 M parameters with decay 0.9999: 0.00 GB" in caplog.text
