"""Validation with averaged weights, which some plugin keeps: here one that averages nothing but holds a third."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.blame import PluginError
from mindloom.testing import Fitted, ToyTask, fit
from mindloom_validate import Validate

HELD = 0.75
PROMPTS = ["a red disc", "a blue star"]


class Held(Plugin):
    """The average of everything is a constant, so that it is known when it is shown."""

    @hookimpl(wrapper=True)
    def make_step(self, run: Any, parts: Any) -> Any:
        """Parameters that the step need not have: nobody updates them."""
        from mindloom.averages import Averages

        step = yield
        copies = []
        for param in parts.params:
            value = ms.Tensor(np.full(param.shape, HELD, np.float32))
            copies.append((param, ms.Parameter(value, name=f"held.{param.name}", requires_grad=False)))
        averages = Averages(self.name, copies)
        averages.fresh = False
        run.keep_averages(averages)
        return step


class Weights(Plugin):
    """Notes the weights after each dispatch."""

    seen: list[dict[str, np.ndarray]]

    @hookimpl
    def on_step_start(self, run: Any) -> None:
        """After everybody's ``on_step_end`` of the dispatch before."""
        if run.step == 0:
            self.seen = []
        self.seen.append({name: p.asnumpy().copy() for name, p in run.task.model.parameters_and_names()})


def train(folder: Path, /, *extra: type[Plugin], core: dict[str, Any] | None = None, **settings: Any) -> Fitted:
    """A run with held-out samples beside the training folder, measured and drawn in each of 4 steps."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "held_out").mkdir(exist_ok=True)
    section = {"data_path": str(folder / "held_out"), "samples": 8, "every": 1, "prompts": PROMPTS,
               "pictures_every": 2, **settings}  # fmt: skip
    data = {"path": str(folder / "train"), "format": "numbers"}
    plugins: list[type[Plugin]] = [Validate, *extra, Weights]
    return fit(folder, plugins, plugins={"validate": section}, data=data, optim={"lr": 0.1}, **(core or {}))


def curve(fitted: Fitted, key: str) -> list[float]:
    return [record[f"validate/{key}"] for record in fitted.records if f"validate/{key}" in record]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Brightness of the first picture of every sheet: the toy task's show the first weight."""
    levels: list[int] = []
    preview = ToyTask.preview

    def noted(self: ToyTask, prompts: Any, seed: int) -> list[np.ndarray]:
        pictures = preview(self, prompts, seed)
        levels.append(int(pictures[0][0, 0, 0]))
        return pictures

    monkeypatch.setattr(ToyTask, "preview", noted)
    return levels


def test_both_are_measured_the_average_is_drawn_and_training_notices_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, drawn: list[int]
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    without = train(tmp_path / "without")
    with_ = train(tmp_path / "with", Held)
    assert with_.losses == without.losses
    for one, other in zip(with_.plugins["weights"].seen, without.plugins["weights"].seen, strict=True):  # type: ignore[attr-defined]
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert curve(with_, "loss") == curve(without, "loss")
    assert not curve(without, "loss_held")
    shown = curve(with_, "loss_held")
    assert len(shown) == 5
    assert len(set(shown)) == 1  # a constant average has one loss
    validate = with_.plugins["validate"]
    assert isinstance(validate, Validate)
    assert validate.held_out is not None
    inputs, targets = (np.concatenate(column) for column in zip(*validate.held_out.batches, strict=True))
    error = inputs.sum(1, keepdims=True) * HELD + HELD - targets
    assert shown[0] == pytest.approx(float((error**2).mean()), rel=1e-5)
    assert drawn[:3] == [0, drawn[1], int(without.weights["weight"][0, 0] * 255)]
    assert drawn[3:] == [int(HELD * 255)] * 3
    last = curve(with_, "loss")[-1]
    assert f"step 4: validation loss {last:.4f}, with held {shown[0]:.4f}" in caplog.messages
    assert f", with held {shown[0]:.4f} (" in caplog.messages[-2]


def test_false_leaves_averaged_weights_alone(tmp_path: Path, drawn: list[int]) -> None:
    fitted = train(tmp_path, Held, averaged="false")
    assert len(curve(fitted, "loss")) == 5
    assert not curve(fitted, "loss_held")
    assert int(HELD * 255) not in drawn


def test_true_needs_averaged_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plugins\.validate\.averaged is true, but no plugin averages") as caught:
        train(tmp_path, averaged=True)
    assert caught.value.setting == "plugins.validate.averaged"
    assert len(curve(train(tmp_path / "held", Held, averaged=True), "loss_held")) == 5


def test_another_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="averaged must be one of auto, true, false, not 'maybe'"):
        train(tmp_path, averaged="maybe")


def test_an_error_while_drawing_leaves_the_trained_weights_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class After(Plugin):
        """Looks at the weights when everything has failed."""

        weights: dict[str, np.ndarray]

        @hookimpl
        def on_exception(self, run: Any) -> None:
            """Note them."""
            After.weights = {name: p.asnumpy().copy() for name, p in run.task.model.parameters_and_names()}

    def torn(self: Any, prompts: Any, seed: int) -> None:
        assert float(self.model.weight.asnumpy()[0, 0]) == HELD
        raise RuntimeError("torn")

    monkeypatch.setattr(ToyTask, "preview", torn)
    with pytest.raises(PluginError, match="torn"):
        train(tmp_path, Held, After)
    assert not After.weights["weight"].any()  # as before training: the first picture failed
