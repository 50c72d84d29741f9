"""Validation in whole runs of the toy task."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.records import Record
from mindloom.run import Run
from mindloom.testing import Fitted, Numbers, Shelf, ToyTask, fit
from mindloom_validate import Validate
from PIL import Image

PROMPTS = ["a red disc", "a blue star"]


class Pictures(Plugin):
    """Keeps the published pictures, and what was logged at which step."""

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.pictures: dict[int, np.ndarray] = {}
        self.losses: dict[int, float] = {}

    @hookimpl
    def on_log(self, record: Record) -> None:
        """Keep them."""
        if "validate/samples" in record.images:
            self.pictures[record.step] = record.images["validate/samples"]
        if "validate/loss" in record:
            self.losses[record.step] = record["validate/loss"]


def train(folder: Path, /, *extra: type[Plugin], steps: int = 4, batch: int = 2, core: dict[str, Any] | None = None,
          **settings: Any) -> Fitted:  # fmt: skip
    """A run with held-out samples beside the training folder."""
    (folder / "train").mkdir(exist_ok=True)
    (folder / "held_out").mkdir(exist_ok=True)
    section = {"data_path": str(folder / "held_out"), "samples": 8, **settings}
    data = {"path": str(folder / "train"), "max_broken": 1.0, "format": "numbers"}
    plugins: list[type[Plugin]] = [Validate, Pictures, *extra]
    return fit(folder, plugins, steps=steps, plugins={"validate": section},
               **{"per_batch_size": batch, "data": data, **(core or {})})  # fmt: skip


def seen(fitted: Fitted) -> Pictures:
    pictures = fitted.plugins["pictures"]
    assert isinstance(pictures, Pictures)
    return pictures


def sheets(fitted: Fitted) -> list[str]:
    return sorted(Path(path).name for path in (fitted.path / "samples").iterdir())


def test_training_is_bit_for_bit_the_same_with_and_without(tmp_path: Path) -> None:
    core = {"gradient_accumulation_steps": 3, "optim": {"warmup_steps": 2, "lr": 0.1, "max_grad_norm": 0.5}}
    (tmp_path / "a").mkdir()
    on = train(tmp_path, steps=6, every=1, prompts=PROMPTS, pictures_every=2, core=core)
    off = fit(tmp_path / "a", steps=6, **core)
    assert on.losses == off.losses
    assert all(np.array_equal(on.weights[name], value) for name, value in off.weights.items())


def test_the_loss_is_the_tasks_own_on_fixed_columns(tmp_path: Path) -> None:
    class Check(Plugin):
        """Computes the mean squared error of the final weights by hand."""

        expected = 0.0

        @hookimpl
        def on_train_end(self, run: Run) -> None:
            """From the prepared columns."""
            validate = run.plugins.plugins["validate"]
            assert isinstance(validate, Validate)
            assert validate.held_out is not None
            weights = {name: p.asnumpy() for name, p in run.task.model.parameters_and_names()}
            inputs, targets = (np.concatenate(column) for column in zip(*validate.held_out.batches, strict=True))
            assert len(inputs) == 8
            error = inputs @ weights["weight"].T + weights["bias"] - targets
            Check.expected = float((error**2).mean())

    fitted = train(tmp_path, Check, steps=3)
    assert seen(fitted).losses[3] == pytest.approx(Check.expected, rel=1e-5)


def test_it_is_measured_at_start_when_due_and_at_the_end_and_pictures_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    fitted = train(tmp_path, steps=5, every=2, prompts=PROMPTS, pictures_every=4)
    losses = seen(fitted).losses
    assert list(losses) == [0, 2, 4, 5]
    assert losses[5] < losses[0]
    assert sheets(fitted) == ["step-00000000.png", "step-00000004.png", "step-00000005.png"]
    for step, picture in seen(fitted).pictures.items():
        assert np.array_equal(np.asarray(Image.open(fitted.path / "samples" / f"step-{step:08d}.png")), picture)
    change = 100 * (losses[5] / losses[0] - 1)
    assert caplog.messages[-2] == (
        f"validation loss {losses[0]:.4f} -> {losses[5]:.4f} ({change:+.0f} %) on 8 held-out samples; "
        f"pictures: {fitted.path / 'samples'}"
    )


def test_an_indexed_format_may_have_a_method_called_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Numbers, "read", lambda numbers, file: b"", raising=False)
    assert train(tmp_path, steps=1).exit_code == 0


def test_by_default_only_start_and_end_are_measured(tmp_path: Path) -> None:
    fitted = train(tmp_path, steps=5)
    assert list(seen(fitted).losses) == [0, 5]
    assert not (fitted.path / "samples").exists()


@pytest.mark.parametrize(("batch", "samples", "used", "left_over"), [(3, 8, 6, 2), (8, 5, 5, 0)])
def test_samples_fill_whole_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, batch: int, samples: int, used: int, left_over: int
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    fitted = train(tmp_path, steps=1, batch=batch, samples=samples)
    validate = fitted.plugins["validate"]
    assert isinstance(validate, Validate)
    assert validate.held_out is not None
    assert (validate.held_out.samples, validate.held_out.left_over) == (used, left_over)
    assert len({batch[0].shape for batch in validate.held_out.batches}) == 1
    assert f"validating on {used} held-out samples" in caplog.text
    assert (f"({left_over} left over" in caplog.text) == bool(left_over)


def test_a_resumed_run_remembers_the_loss_before_and_draws_no_second_first_sheet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    first = train(tmp_path, Shelf, steps=6, every=2, prompts=PROMPTS, core={"stop_at": 3})
    before = seen(first).losses[0]
    (first.path / "samples" / "step-00000000.png").unlink()
    second = train(tmp_path, Shelf, steps=6, every=2, prompts=PROMPTS, core={"resume": "latest"})
    assert list(seen(second).losses) == [4, 6]
    assert sheets(second) == ["step-00000003.png", "step-00000006.png"]
    assert caplog.messages[-2].startswith(f"validation loss {before:.4f} -> {seen(second).losses[6]:.4f} (")
    (tmp_path / "whole").mkdir()
    assert seen(train(tmp_path / "whole", steps=6, every=2)).losses[6] == seen(second).losses[6]


def test_other_held_out_samples_on_resume_are_measured_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mindloom")
    train(tmp_path, Shelf, steps=6, core={"stop_at": 3})
    fitted = train(tmp_path, Shelf, steps=6, seed=7, core={"resume": "latest"})
    assert list(seen(fitted).losses) == [3, 6]
    assert "since step 3" in caplog.messages[-2]


def test_a_signal_ends_the_run_without_measuring(tmp_path: Path) -> None:
    class Terminated(Plugin):
        """As if SIGTERM had come."""

        @hookimpl
        def on_step_end(self, run: Run) -> None:
            """Once is enough."""
            run.signal = 15
            run.stop("SIGTERM received")

    fitted = train(tmp_path, Terminated, prompts=PROMPTS)
    assert list(seen(fitted).losses) == [0]


def test_prompts_come_from_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    preview = ToyTask.preview

    def kept(self: ToyTask, prompts: Any, seed: int) -> Any:
        drawn.append(list(prompts))
        return preview(self, prompts, seed)

    monkeypatch.setattr(ToyTask, "preview", kept)
    (tmp_path / "prompts.txt").write_text("# shapes\n  a green disc \n\nein gr\u00fcner Stern\n", encoding="utf-8")
    train(tmp_path, steps=1, prompts=PROMPTS[:1], prompts_file=str(tmp_path / "prompts.txt"))
    assert drawn == [["a red disc", "a green disc", "ein gr\u00fcner Stern"]] * 2


def test_a_task_without_pictures_is_told_once_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindloom.testing.ToyTask.preview", lambda self, prompts, seed: None)
    fitted = train(tmp_path, steps=2, prompts=PROMPTS, pictures_every=1)
    assert caplog.text.count("this task draws none") == 1
    assert not (fitted.path / "samples").exists()


def test_broken_held_out_samples_are_skipped_and_none_left_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ToyTask.transform
    bad: set[int] = {3, 4}

    def transform(self: ToyTask, sample: Any, draw: Any) -> dict[str, np.ndarray]:
        if sample["number"] in bad:
            raise ValueError("torn")
        return good(self, sample, draw)

    monkeypatch.setattr(ToyTask, "transform", transform)
    fitted = train(tmp_path, steps=1, samples=12)
    assert fitted.plugins["validate"].held_out.samples == 10  # type: ignore[attr-defined]
    assert "skipped broken held-out sample sample-3: torn" in caplog.text
    bad.update(range(12))
    with pytest.raises(UserError, match="none of the 12 held-out samples can be read") as caught:
        train(tmp_path, steps=1)
    assert caught.value.setting == "plugins.validate.data_path"


@pytest.mark.parametrize(
    ("settings", "words", "setting"),
    [
        ({"data_path": "nowhere"}, "no held-out samples at nowhere", "plugins.validate.data_path"),
        ({"data_path": ""}, "nothing to do: set plugins.validate.data_path or plugins.validate.prompts", ""),
        (
            {"prompts_file": "no.txt"},
            r"prompts no.txt cannot be read \(No such file",
            "plugins.validate.prompts_file",
        ),
        ({"samples": 0}, "samples must be at least 1, not 0", "plugins.validate.samples"),
        ({"every": -1}, "every must be at least 0, not -1", "plugins.validate.every"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, settings: dict[str, Any], words: str, setting: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        train(tmp_path, **settings)
    assert caught.value.setting == setting


@pytest.mark.parametrize("place", ["train/inside", "train", "."])
def test_held_out_samples_that_are_trained_on_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "train" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="overlap"):
        train(tmp_path, data_path=str(tmp_path / place))


def test_what_the_format_finds_wrong_there_is_blamed_on_the_right_setting(tmp_path: Path) -> None:
    class Picky(Plugin):
        """A format that opens the training folder only."""

        @hookimpl
        def add_formats(self) -> dict[str, Any]:
            """Raise as formats do."""

            def open_picky(path: Path, world: Any) -> Numbers:
                if Path(path).name != "train":
                    raise UserError(f"{path} has no table", setting="data.path")
                return Numbers(4)

            return {"picky": open_picky}

    data = {"data": {"path": str(tmp_path / "train"), "format": "picky"}}
    with pytest.raises(UserError, match="held_out has no table") as caught:
        train(tmp_path, Picky, core=data)
    assert caught.value.setting == "plugins.validate.data_path"
