"""A sink changes nothing but the number of dispatches: losses, weights, checkpoints and resumed runs are equal bits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import interval
from mindloom.testing import Fitted, Shelf, fit
from mindloom_sink import Sink
from mindloom_sink.chunks import chunks

SETTINGS: dict[str, Any] = {
    "gradient_accumulation_steps": 2,
    "optim": {"lr": 0.05, "schedule": "cosine", "warmup_steps": 3, "max_grad_norm": 0.5},
    "log_interval": 2,
}


class Dispatches(Plugin):
    """Counts the steps of every dispatch."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.steps: list[int] = []

    @hookimpl
    def on_step_end(self, result: Any) -> None:
        """Count."""
        self.steps.append(result.n)


def train(folder: Path, name: str, size: int | None, plugins: dict[str, Any] | None = None, **more: Any) -> Fitted:
    """Train the toy task, 24 samples in an epoch, with a sink of ``size``, or without one."""
    place = folder / name
    place.mkdir(exist_ok=True)
    sections: dict[str, Any] = {"toy": {"samples": 24}, **more.pop("sections", {})}
    classes: dict[str, Any] = {"dispatches": Dispatches, "shelf": Shelf, **(plugins or {})}
    if size is not None:
        classes["sink"] = Sink
        sections["sink"] = {"size": size}
    return fit(place, classes, **{**SETTINGS, **more, "plugins": sections})


def dispatches(fitted: Fitted) -> list[int]:
    counter = fitted.plugins["dispatches"]
    assert isinstance(counter, Dispatches)
    return counter.steps


def equal(one: Fitted, other: Fitted) -> None:
    def values(fitted: Fitted) -> list[dict[str, float]]:
        return [{k: v for k, v in record.items() if not k.endswith("per_second")} for record in fitted.records]

    assert values(one) == values(other)[-len(one.records) :]
    for name, weight in other.weights.items():
        np.testing.assert_array_equal(one.weights[name], weight)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Ten steps without a sink, with accumulation, clipping and warm-up."""
    return train(tmp_path_factory.mktemp("plain"), "plain", None, steps=10)


@pytest.mark.parametrize(("size", "expected"), [(2, [2] * 5), (1, [1] * 10)])
def test_losses_learning_rates_and_weights_are_equal_bits(
    size: int, expected: list[int], plain: Fitted, tmp_path: Path
) -> None:
    sunk = train(tmp_path, "sunk", size, steps=10)
    assert dispatches(sunk) == expected
    equal(sunk, plain)


def test_the_last_partial_dispatch_is_trained(plain: Fitted, tmp_path: Path) -> None:
    sunk = train(tmp_path, "sunk", 4, steps=10, log_interval=4)
    assert dispatches(sunk) == [4, 4, 2]
    assert [record["loss"] for record in sunk.records] == [plain.losses[1], plain.losses[3], plain.losses[4]]
    for name, weight in plain.weights.items():
        np.testing.assert_array_equal(sunk.weights[name], weight)


@pytest.mark.parametrize("stop_at", [4, 5, 3])
def test_a_resumed_run_goes_on_bit_for_bit_from_any_step(stop_at: int, plain: Fitted, tmp_path: Path) -> None:
    first = train(tmp_path, "parts", 2, steps=10, stop_at=stop_at)
    assert dispatches(first) == [2] * (stop_at // 2) + [1] * (stop_at % 2)
    rest = train(tmp_path, "parts", 2, steps=10, resume="latest")
    assert dispatches(rest) == [1] * (stop_at % 2) + [2] * ((10 - stop_at) // 2)
    equal(rest, plain)


def test_a_checkpoint_may_be_resumed_with_and_without_a_sink(plain: Fitted, tmp_path: Path) -> None:
    train(tmp_path, "one", None, steps=10, stop_at=5)
    equal(train(tmp_path, "one", 2, steps=10, resume="latest"), plain)
    train(tmp_path, "other", 2, steps=10, stop_at=4)
    equal(train(tmp_path, "other", None, steps=10, resume="latest"), plain)


class Every(Plugin):
    """Asks for checkpoints."""

    @dataclass
    class Config:
        every: int = interval(4, "steps between checkpoints")

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Ask."""
        if run.due(self.cfg.every, result.n):
            run.request_checkpoint(by=self.name)


def test_checkpoints_are_made_at_their_steps(tmp_path: Path) -> None:
    sunk = train(tmp_path, "sunk", 2, {"checkpoint": Every}, steps=10)
    steps = sorted(int(path.name[-8:]) for path in Shelf.kept if path.parent == sunk.path)
    assert steps == [4, 8, 10]


def test_intervals_that_fall_inside_a_dispatch_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        train(tmp_path, "odd", 4, {"checkpoint": Every}, sections={"checkpoint": {"every": 6}})
    assert "make log_interval=2, plugins.checkpoint.every=6 a multiple of 4" in str(caught.value)
    sections = {"checkpoint": {"every": 0}}
    assert train(tmp_path, "never", 2, {"checkpoint": Every}, sections=sections, steps=2).exit_code == 0


@pytest.mark.parametrize(
    ("size", "more", "message"),
    [
        (0, {}, "sink size must be at least 1, not 0"),
        (-3, {}, "sink size must be at least 1, not -3"),
        (8, {"log_interval": 8}, "sink size 8 is larger than an epoch, which has 6 steps: lower plugins.sink.size"),
        (2, {"device": {"mode": "pynative"}}, "sink needs graph mode: set device.mode=graph or switch sink off"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(size: int, more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        train(tmp_path, "bad", size, **more)
    assert "\n" not in str(caught.value)
    assert caught.value.setting


def test_a_queue_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sink queue must be at least 1, not 0"):
        fit(tmp_path, [Sink], plugins={"sink": {"queue": 0, "size": 1}})


def test_an_epoch_as_long_as_the_sink_is_accepted(tmp_path: Path) -> None:
    assert train(tmp_path, "fits", 6, steps=6, log_interval=6).exit_code == 0


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 7, [(0, 3), (3, 6), (6, 7)]),
        (4, 9, [(4, 6), (6, 9)]),
        (4, 5, [(4, 5)]),
        (5, 5, []),
    ],
)
def test_dispatches_meet_the_multiples(first: int, last: int, expected: list[tuple[int, int]]) -> None:
    assert list(chunks(first, last, 3)) == expected
