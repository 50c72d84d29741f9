"""Half precision on the toy task: dtypes, losses near float32, the loss scale's life, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.testing import Fitted, Recorder, Shelf, Toy, ToyTask, fit
from mindloom_fp16 import Fp16
from mindloom_fp16.rounding import check_steps, standing_still

MODES = ("param", "amp")


def train(folder: Path, name: str = "run", plugins: dict[str, Any] | None = None, **more: Any) -> Fitted:
    """Train the toy task in a folder of its own with fp16 on, unless its settings are None."""
    place = folder / name
    place.mkdir(exist_ok=True)
    sections = {"fp16": {"mode": "amp"}, **more.pop("sections", {})}
    classes: dict[str, Any] = {"fp16": Fp16, **(plugins or {})}
    return fit(place, classes, **{"plugins": sections, **more})


class Seen(Plugin):
    """Looks at dtypes, on the way."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.weight = self.state = ""
        self.last: dict[str, np.ndarray] = {}

    @hookimpl(wrapper=True)
    def make_step(self) -> Any:
        """Remember the step, whose state is of interest."""
        self.step = yield
        return self.step

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Write down."""
        self.last = {param.name: param.asnumpy().copy() for param in self.step.get_parameters()}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Six steps in float32."""
    return fit(tmp_path_factory.mktemp("full"), steps=6)


@pytest.mark.parametrize("mode", MODES)
def test_dtypes_are_those_of_the_mode_and_losses_stay_near_float32(
    mode: str, full: Fitted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = train(tmp_path, plugins={"seen": Seen}, steps=6, sections={"fp16": {"mode": mode}})
    seen = half.plugins["seen"]
    assert isinstance(seen, Seen)
    stored = np.float16 if mode == "param" else np.float32
    assert half.weights["weight"].dtype == half.weights["bias"].dtype == half.weights["frozen"].dtype == stored
    assert seen.last["exp_avg.weight"].dtype == seen.last["exp_avg_sq.weight"].dtype == np.float32
    np.testing.assert_allclose(half.losses, full.losses, rtol=5e-3)
    assert half.losses != full.losses
    for name, weight in full.weights.items():
        np.testing.assert_allclose(half.weights[name], weight, atol=5e-4)
    assert ("float16 parameters are not recommended" in caplog.text) == (mode == "param")


def test_patterns_keep_parameters_in_float32_and_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    half = train(tmp_path, sections={"fp16": {"mode": "param", "keep_float32": ["^bias$", "froz"]}})
    assert {name: weight.dtype.name for name, weight in half.weights.items()} == {
        "weight": "float16", "bias": "float32", "frozen": "float32"
    }  # fmt: skip
    assert "float32 is kept where a name matches: ^bias$  froz" in caplog.text


class TinyTask(ToyTask):
    """Gradients of about 1e-7: float16 would hold one bit of them."""

    @staticmethod
    def shrink(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: (column * 2e-4).astype(np.float32) for name, column in rows.items()}

    def transform(self, sample: Any, draw: Any) -> dict[str, np.ndarray]:
        return self.shrink(super().transform(sample, draw))


class Tiny(Plugin):
    """The task of tiny gradients."""

    @hookimpl
    def make_task(self) -> Any:
        """It."""
        return TinyTask(4)

    @hookimpl
    def add_formats(self) -> Any:
        """The toy's."""
        return Toy.add_formats(Toy())


def test_small_gradients_reach_float16_weights(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"steps": 4, "optim": {"lr": 0.01, "eps": 1e-12, "max_grad_norm": 0}}
    whole = fit(tmp_path, {"toy": Tiny}, **settings)
    half = train(tmp_path, "half", {"toy": Tiny}, sections={"fp16": {"mode": "param", "loss_scale": 1024}}, **settings)
    np.testing.assert_allclose(half.weights["weight"], whole.weights["weight"], rtol=0.02)


class Blast(Plugin):
    """Asks for a loss that float16 cannot hold in some steps."""

    @hookimpl(wrapper=True)
    def make_dataset(self) -> Any:
        """Blow the inputs up."""
        dataset = yield
        batches = dataset.batches

        def louder(first: int, last: int) -> Any:
            for batch in batches(first, last):
                if batch.step in self.steps:
                    batch = type(batch)(batch.step, tuple(column * np.float32(3e4) for column in batch.columns))
                yield batch

        dataset.batches = louder
        return dataset

    steps: tuple[int, ...] = (2, 3)


class Always(Blast):
    """Never holds."""

    steps = tuple(range(100))


def test_overflow_is_skipped_counted_and_leaves_the_weights(tmp_path: Path) -> None:
    class Weights(Recorder):
        """The weights after every step."""

        @hookimpl
        def on_step_end(self, run: Any) -> None:
            self.records.append({"sum": float(sum(np.abs(p.asnumpy()).sum() for p in run.task.model.get_parameters()))})

    fitted = train(tmp_path, plugins={"blast": Blast, "weights": Weights}, steps=6)
    records = fitted.records
    assert [record["skipped"] for record in records] == [0, 0, 1, 2, 2, 2]
    assert [record["skipped_in_a_row"] for record in records] == [0, 0, 1, 2, 0, 0]
    assert [record["loss_scale"] for record in records] == [1024, 1024, 512, 256, 256, 256]
    weights = fitted.plugins["weights"]
    assert isinstance(weights, Weights)
    sums = [record["sum"] for record in weights.records if "sum" in record]
    assert sums[1] == sums[2] == sums[3]
    assert len(set(sums)) == 4


def test_scale_grows_after_patience_and_stays_when_static(tmp_path: Path) -> None:
    sections = {"fp16": {"mode": "amp", "patience": 2, "loss_scale": 8}}
    assert [r["loss_scale"] for r in train(tmp_path, sections=sections, steps=5).records] == [8, 16, 16, 32, 32]
    sections["fp16"]["dynamic"] = False
    static = train(tmp_path, "static", {"blast": Blast}, sections=sections, steps=5)
    assert {record["loss_scale"] for record in static.records} == {8}
    assert static.records[-1]["skipped"] == 2


def test_scale_and_counts_survive_a_resume_bit_for_bit(tmp_path: Path) -> None:
    sections = {"fp16": {"mode": "amp", "patience": 3}}
    settings: dict[str, Any] = {"plugins": {"blast": Blast, "shelf": Shelf}, "sections": sections, "steps": 9}
    whole = train(tmp_path, "whole", **settings)
    train(tmp_path, "parts", **settings, stop_at=4)
    rest = train(tmp_path, "parts", **settings, resume="latest")
    keys = ("loss", "grad_norm", "loss_scale", "skipped", "skipped_in_a_row")
    for one, other in zip(rest.records, whole.records[4:], strict=True):
        assert [one[key] for key in keys] == [other[key] for key in keys]
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(rest.weights[name], weight)


def test_too_many_skipped_steps_stop_the_run_and_say_what_to_do(tmp_path: Path) -> None:
    message = r"3 steps in a row overflowed float16 .*scale 128 at step 3.*mode=amp"
    with pytest.raises(TrainingError, match=message) as caught:
        train(tmp_path, plugins={"blast": Always}, sections={"fp16": {"max_skipped": 3}}, steps=9)
    assert caught.value.exit_code == 1


class HalfToy(Plugin):
    """The toy task with float16 weights of its own."""

    @hookimpl
    def make_task(self) -> Any:
        """It."""
        task = ToyTask(4)
        task.model.weight.set_dtype(ms.float16)
        return task

    @hookimpl
    def add_formats(self) -> Any:
        """The toy's."""
        return Toy.add_formats(Toy())


@pytest.mark.parametrize("mode", MODES)
def test_weights_that_are_float16_already_are_refused(mode: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights are float16 already \(weight\).*--plugins no:fp16"):
        train(tmp_path, plugins={"toy": HalfToy}, sections={"fp16": {"mode": mode}})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"mode": "half"}, "fp16 mode must be param or amp, not 'half'"),
        ({"loss_scale": 0}, "fp16 loss_scale must be at least 1, not 0"),
        ({"patience": 0}, "fp16 patience must be at least 1, not 0"),
        ({"max_skipped": 0}, "fp16 max_skipped must be at least 1, not 0"),
        ({"keep_float32": ["("]}, r"fp16 keep_float32: '\(' is not a regular expression"),
        ({"keep_float32": ["bais"]}, "fp16 keep_float32: no parameter's name matches 'bais'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(section: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train(tmp_path, sections={"fp16": section})
    assert "\n" not in str(caught.value)


def weights(value: float, dtype: Any = ms.float16) -> list[Any]:
    return [ms.Parameter(ms.Tensor(np.full(100, value), dtype))]


def test_a_learning_rate_that_rounds_away_is_refused_and_one_that_nearly_does_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = logging.getLogger("test")
    with pytest.raises(UserError, match=r"100% of the float16 weights would stand still.*optim.lr=1e-05"):
        check_steps(weights(1.0), 1e-5, log)
    with pytest.raises(UserError, match="stand still"):
        check_steps(weights(1.0), 0.0, log)
    check_steps([*weights(1.0), *weights(0.001)], 1e-5, log)
    assert "50 % of the float16 weights stand still" in caplog.text
    caplog.clear()
    check_steps(weights(1.0, ms.float32), 1e-9, log)
    check_steps(weights(0.001), 1e-5, log)
    assert not caplog.text


@pytest.mark.parametrize("value", [1.0, 0.1, 3e-3])
def test_standing_still_is_what_float16_does(value: float) -> None:
    weight = np.float16(value)
    for lr in np.float32(value) * 2.0 ** -np.arange(5, 16, dtype=np.float32):
        moved = np.float16(np.float32(weight) + lr) != weight
        assert standing_still(np.array([weight]), float(lr)) == (not moved) or lr == np.spacing(weight) / 2


def test_a_run_that_would_train_nothing_is_refused(tmp_path: Path) -> None:
    class Ones(HalfToy):
        """Weights of one."""

        @hookimpl
        def make_task(self) -> Any:
            task = ToyTask(4)
            for param in task.model.get_parameters():
                param.set_data(ms.Tensor(np.ones(param.shape, np.float32)))
            return task

    settings: dict[str, Any] = {"plugins": {"toy": Ones}, "optim": {"lr": 1e-5}}
    with pytest.raises(UserError, match="stand still"):
        train(tmp_path, "param", sections={"fp16": {"mode": "param"}}, **settings)
    assert train(tmp_path, "amp", sections={"fp16": {"mode": "amp"}}, **settings).exit_code == 0
