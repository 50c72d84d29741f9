"""The compiled step: accumulation equals a bigger batch, graph equals eager, frozen parts stay, the schedule counts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.snapshots import step_state
from mindloom.testing import Fitted, Shelf, Toy, ToyTask, fit
from mindspore import nn

FULL = {"lr": 0.05, "schedule": "cosine", "warmup_steps": 2, "max_grad_norm": 0.5, "weight_decay": 0.1}


def close(one: Fitted, other: Fitted, rtol: float) -> None:
    np.testing.assert_allclose(one.losses, other.losses, rtol=rtol)
    for name, weight in one.weights.items():
        np.testing.assert_allclose(weight, other.weights[name], rtol=rtol, atol=1e-6)


def equal(one: Fitted, other: Fitted) -> None:
    assert one.losses[-len(other.losses) :] == other.losses
    for name, weight in one.weights.items():
        np.testing.assert_array_equal(weight, other.weights[name])


def fresh(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_accumulation_equals_a_bigger_batch(tmp_path: Path) -> None:
    big = fit(fresh(tmp_path, "big"), steps=5, per_batch_size=6, optim=FULL)
    summed = fit(fresh(tmp_path, "sum"), steps=5, per_batch_size=2, gradient_accumulation_steps=3, optim=FULL)
    close(summed, big, rtol=2e-5)
    assert [r["grad_norm"] for r in summed.records] == pytest.approx([r["grad_norm"] for r in big.records], rel=1e-5)


def test_the_schedule_advances_once_for_each_optimizer_step(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watch(Plugin):
        @hookimpl(wrapper=True)
        def make_schedule(self) -> Generator[None, Any, Any]:
            rate = yield

            def watched(step: int) -> float:
                seen.append(step)
                return float(rate(step))

            return watched

    fitted = fit(tmp_path, [Watch], steps=4, gradient_accumulation_steps=3, optim={"lr": 1.0, "warmup_steps": 4})
    assert seen == [0, 1, 2, 3]
    assert [record["lr"] for record in fitted.records] == [0.25, 0.5, 0.75, 1.0]
    run = fitted.plugins["recorder"].run  # type: ignore[attr-defined]
    assert (run.step, run.position) == (4, 24)


def test_graph_and_eager_mode_agree(tmp_path: Path) -> None:
    runs = [
        fit(fresh(tmp_path, mode), steps=3, gradient_accumulation_steps=2, optim=FULL, device={"mode": mode})
        for mode in ("graph", "pynative")
    ]
    close(runs[0], runs[1], rtol=1e-5)
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_same_run_gives_the_same_bits(tmp_path: Path, accumulate: int) -> None:
    runs = [fit(fresh(tmp_path, name), steps=4, gradient_accumulation_steps=accumulate, optim=FULL) for name in "ab"]
    equal(runs[0], runs[1])
    assert fit(fresh(tmp_path, "c"), steps=4, seed=43).losses != runs[0].losses


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_stopped_and_resumed_equals_one_that_was_not_bit_for_bit(tmp_path: Path, accumulate: int) -> None:
    settings: dict[str, Any] = {"steps": 8, "gradient_accumulation_steps": accumulate, "optim": FULL}
    whole = fit(fresh(tmp_path, "whole"), [Shelf], **settings)
    parts = fresh(tmp_path, "parts")
    before = fit(parts, [Shelf], stop_at=3, **settings)
    after = fit(parts, [Shelf], resume="latest", **settings)
    assert before.losses == whole.losses[:3]
    equal(whole, after)
    assert len(after.losses) == 5


def test_frozen_parameters_stay_and_have_no_optimizer_state(tmp_path: Path) -> None:
    states: list[set[str]] = []

    class Look(Plugin):
        @hookimpl(wrapper=True)
        def make_step(self, run: Any) -> Generator[None, Any, Any]:
            step = yield
            states.append(set(step_state(step, run.task.model)))
            return step

    fitted = fit(tmp_path, [Look], gradient_accumulation_steps=2)
    assert fitted.weights["frozen"] == 1.0
    assert not (fitted.weights["weight"] == 0).any()
    moments = {f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in ("weight", "bias")}
    assert states == [{*moments, "optimizer_steps"}]


def test_two_parameters_of_one_name_are_refused_because_one_would_be_lost(tmp_path: Path) -> None:
    class Twins(Plugin):
        @hookimpl
        def make_reducer(self) -> nn.Cell:
            return Counting()

    class Counting(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.count = ms.Parameter(ms.Tensor(0.0), name="optimizer_steps", requires_grad=False)

        def construct(self, tensors: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
            return tensors

    with pytest.raises(TrainingError, match="the step has two parameters named 'optimizer_steps'"):
        fit(tmp_path, [Twins])


def test_a_model_without_trainable_parameters_is_refused(tmp_path: Path) -> None:
    class Frozen(Toy):
        @hookimpl
        def make_task(self) -> Any:
            task = ToyTask(self.cfg.width)
            for param in task.model.get_parameters():
                param.requires_grad = False
            return task

    with pytest.raises(UserError, match="nothing to train"):
        fit(tmp_path, {"toy": Frozen})


class Half(nn.Cell):
    """Halves gradients."""

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        halves: tuple[ms.Tensor, ...] = ()
        for gradient in gradients:
            halves = (*halves, gradient * 0.5)
        return halves


class Reduce(Plugin):
    """Reduces over processes: here, halves."""

    @hookimpl
    def make_reducer(self) -> nn.Cell:
        return Half()


class Operate(Plugin):
    """Halves gradients after the reduction."""

    @hookimpl
    def add_grad_ops(self) -> list[nn.Cell]:
        return [Half()]


def test_reduction_comes_before_the_logged_norm_and_gradient_operations_before_clipping(tmp_path: Path) -> None:
    plain = fit(fresh(tmp_path, "plain"), steps=1)
    norm = plain.records[0]["grad_norm"]
    reduced = fit(fresh(tmp_path, "reduced"), [Reduce], steps=1)
    assert reduced.records[0]["grad_norm"] == pytest.approx(norm / 2, rel=1e-6)
    operated = fit(fresh(tmp_path, "operated"), [Operate], steps=1)
    assert operated.records[0]["grad_norm"] == norm

    # Clipping comes last: two runs that only differ in the gradient's size before it take the same step.
    clip = {"lr": 0.01, "max_grad_norm": 1e-3, "eps": 1.0}
    one, other = (
        fit(fresh(tmp_path, name), plugins, steps=1, optim=clip)
        for name, plugins in (("one", []), ("other", [Operate]))
    )
    np.testing.assert_allclose(one.weights["weight"], other.weights["weight"], rtol=1e-4)
    unclipped = {**clip, "max_grad_norm": 0}
    one, other = (
        fit(fresh(tmp_path, name), plugins, steps=1, optim=unclipped)
        for name, plugins in (("three", []), ("four", [Operate]))
    )
    assert not np.allclose(one.weights["weight"], other.weights["weight"], rtol=1e-2)
