"""Averaged weights in whole runs of several plugins: checkpoints that hold them, runs that go on with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.testing import Fitted, fit
from mindloom_checkpoint import Checkpoint
from mindloom_ddp.testing import msrun
from mindloom_ema import Ema
from mindloom_fp16 import Fp16
from mindloom_sink import Sink
from mindloom_validate import Validate
from safetensors.numpy import load_file

pytestmark = pytest.mark.together

SCRIPT = Path(__file__).with_name("train_averaged.py")
EMA = {"decay": 0.9, "start": 1}


class Last(Plugin):
    """Keeps the averages and their counters as they are at the end."""

    averages: dict[str, np.ndarray]
    counts: dict[str, float]

    @hookimpl
    def on_train_end(self, run: Any) -> None:
        """Keep them."""
        if run.averages is not None:
            self.averages = {param.name: copy.asnumpy().copy() for param, copy in run.averages.copies}
            self.counts = run.averages.counts()


def train(folder: Path, /, ema: dict[str, Any] | None = EMA, steps: int = 4, sections: dict[str, Any] | None = None,
          plugins: dict[str, type[Plugin]] | None = None, **more: Any) -> Fitted:  # fmt: skip
    """Train the toy task with checkpoints after every second step; ``ema`` None leaves the plugin off."""
    folder.mkdir(exist_ok=True)
    mine: dict[str, type[Plugin]] = {} if ema is None else {"ema": Ema}
    settings = {"checkpoint": {"every": 2, "keep": 2}, **({} if ema is None else {"ema": ema}), **(sections or {})}
    classes = {"checkpoint": Checkpoint, **mine, **(plugins or {}), "last": Last}
    return fit(folder, classes, steps=steps, plugins=settings, optim={"lr": 0.1}, **more)


def last(fitted: Fitted) -> Last:
    found = fitted.plugins["last"]
    assert isinstance(found, Last)
    return found


def saved(fitted: Fitted, step: int) -> Path:
    return fitted.path / "checkpoints" / f"step-{step:08d}"


def assert_same(one: Fitted, other: Fitted) -> None:
    """Weights, averages and counters, bit for bit."""
    for mine, theirs in ((one.weights, other.weights), (last(one).averages, last(other).averages)):
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert last(one).counts == last(other).counts


def test_a_checkpoint_holds_the_average_once_as_a_complete_model(tmp_path: Path) -> None:
    fitted = train(tmp_path)
    averaged, model, optimizer = (
        load_file(saved(fitted, 4) / f"{n}.safetensors") for n in ("ema", "model", "optimizer")
    )
    assert averaged.keys() == model.keys() == {"weight", "bias", "frozen"}
    for name, value in last(fitted).averages.items():
        np.testing.assert_array_equal(averaged[name], value, strict=True)
        assert (averaged[name] != model[name]).any()
    np.testing.assert_array_equal(averaged["frozen"], model["frozen"], strict=True)
    assert not [name for name in optimizer if "ema" in name]


@pytest.mark.parametrize("sink", [None, 2])
def test_a_run_in_two_parts_equals_a_whole_one_bit_for_bit(tmp_path: Path, sink: int | None) -> None:
    driven: dict[str, Any] = {"log_interval": sink or 1}
    if sink:
        driven |= {"sections": {"sink": {"size": sink}}, "plugins": {"sink": Sink}}
    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", stop_at=2, **driven)
    parts = train(tmp_path / "parts", resume="latest", **driven)
    assert_same(parts, whole)
    assert last(whole).counts == {"ema_updates": 3.0, "ema_steps": 4.0}
    one, other = (load_file(saved(fitted, 4) / "ema.safetensors") for fitted in (whole, parts))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mode", ["amp", "param"])
def test_half_precision_keeps_float32_averages_across_a_resume(tmp_path: Path, mode: str) -> None:
    half: dict[str, Any] = {"sections": {"fp16": {"mode": mode}}, "plugins": {"fp16": Fp16}}
    whole = train(tmp_path / "whole", **half)
    train(tmp_path / "parts", stop_at=2, **half)
    assert_same(train(tmp_path / "parts", resume="latest", **half), whole)
    assert {value.dtype.name for value in last(whole).averages.values()} == {"float32"}


def test_it_can_be_switched_on_when_resuming_and_off_and_on_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    part = train(tmp_path, ema=None, steps=8, stop_at=2)
    assert not (saved(part, 2) / "ema.safetensors").exists()
    caplog.clear()
    on = train(tmp_path, ema={"decay": 0.5, "warmup": False}, steps=8, stop_at=3, resume="latest")
    assert caplog.messages.count("averaged weights (ema) start from those of step 2") == 1
    for name, value in last(on).averages.items():
        middle = part.weights[name] - (part.weights[name] - on.weights[name]) * np.float32(0.5)
        np.testing.assert_array_equal(value, middle)
    caplog.clear()
    off = train(tmp_path, ema=None, steps=8, stop_at=5, resume="latest")
    assert caplog.messages.count("the checkpoint's averaged weights (ema) are left out: the plugin is off") == 1
    assert not (saved(off, 5) / "ema.safetensors").exists()
    assert last(train(tmp_path, steps=8, resume="latest")).counts["ema_steps"] == 3
    plain = train(tmp_path / "plain", ema=None, steps=8, stop_at=5)
    assert all(np.array_equal(plain.weights[name], off.weights[name]) for name in plain.weights)


def test_the_file_is_weights_to_start_from(tmp_path: Path) -> None:
    averaged = load_file(saved(train(tmp_path / "first"), 4) / "ema.safetensors")
    weights = tmp_path / "weights.npz"  # the toy task's own format
    np.savez(weights, **averaged)
    second = train(tmp_path / "second", steps=1, weight=str(weights), ema={"every": 2})
    for name, value in last(second).averages.items():  # not updated yet, so still what the run began with
        np.testing.assert_array_equal(value, averaged[name])


def test_the_oldest_goes_with_its_average(tmp_path: Path) -> None:
    fitted = train(tmp_path, steps=8)
    assert sorted(path.parent.name for path in fitted.path.rglob("ema.safetensors")) == [
        "step-00000006",
        "step-00000008",
    ]


def test_a_damaged_average_is_noticed(tmp_path: Path) -> None:
    path = saved(train(tmp_path, steps=8, stop_at=2), 2) / "ema.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"ema\.safetensors is damaged"):
        train(tmp_path, steps=8, resume="latest")


def test_an_average_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    class Poison(Plugin):
        """Infinity in the average alone."""

        @hookimpl
        def on_step_end(self, run: Any) -> None:
            """Before the second step's checkpoint."""
            if run.step == 2:
                copy = run.averages.copies[0][1]
                copy.set_data(ms.Tensor(np.full(copy.shape, np.inf, np.float32)))

    with pytest.raises(TrainingError, match="not saved: weight holds NaN or infinity at step 2"):
        train(tmp_path, plugins={"poison": Poison})
    assert not list(tmp_path.rglob("ema.safetensors"))


def test_validation_measures_the_average_also_before_the_first_step_of_a_resumed_run(tmp_path: Path) -> None:
    def measured(folder: Path, seed: int, **more: Any) -> Fitted:
        (folder / "held").mkdir(parents=True, exist_ok=True)
        (folder / "train").mkdir(exist_ok=True)
        section = {"validate": {"data_path": str(folder / "held"), "samples": 8, "every": 1, "seed": seed}}
        data = {"path": str(folder / "train"), "format": "numbers"}
        return train(folder, sections=section, plugins={"validate": Validate}, data=data, **more)

    whole = measured(tmp_path / "whole", 7)
    curve = {record["epoch"]: record["validate/loss_ema"] for record in whole.records if "epoch" in record}
    start = next(record for record in whole.records if "epoch" not in record)
    assert start["validate/loss"] == start["validate/loss_ema"]  # the average begins with the weights
    measured(tmp_path / "parts", 0, stop_at=2)
    parts = measured(tmp_path / "parts", 7, resume="latest")  # another seed: measured afresh, before any graph runs
    first, *others = [record for record in parts.records if "validate/loss_ema" in record]
    assert first["validate/loss_ema"] == list(curve.values())[1]
    assert [record["validate/loss_ema"] for record in others] == list(curve.values())[2:]
    assert_same(parts, whole)


@pytest.mark.slow
def test_processes_agree_on_an_average_that_begins_after_their_weights_were_made_equal(tmp_path: Path) -> None:
    with msrun(tmp_path, str(SCRIPT), str(tmp_path)) as launched:
        code = launched.wait(200)
    assert code == 0, launched.output(0)[-4000:] + launched.output(1)[-4000:]
    results = [dict(np.load(tmp_path / f"result.{rank}.npz")) for rank in range(2)]
    for name in ("weight", "bias"):
        before, after, average = (results[0][f"{kind}.{name}"] for kind in ("before", "after", "average"))
        np.testing.assert_array_equal(results[1][f"average.{name}"], average)
        np.testing.assert_array_equal(average, before - (before - after) * np.float32(0.5))
        assert (results[1][f"own.{name}"] != before).all()
