"""The kit's ``fit``: how plugins and settings are given, which hooks it tells of, and its stand-ins for slow things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting
from mindloom.testing import Call, Fitted, Painted, Paintings, Pictures, Shelf, Strides, fit


class Asking(Plugin):
    """Asks for a checkpoint at a step, and remembers it."""

    @dataclass
    class Config:
        at: int = setting(2, "the step")

    asked = False

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Ask."""
        if run.step == self.cfg.at:
            self.asked = True
            run.request_checkpoint(by=self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"asked": (self.asked,)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state == {"asked": [True]}, "as from a disk, not a tuple"
        self.asked = True


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Three steps, of which the second is saved."""
    return fit(tmp_path_factory.mktemp("done"), [Asking, Shelf], steps=3, log_interval=3)


def test_it_asked_for_a_checkpoint_and_one_came(done: Fitted) -> None:
    step = ["on_step_start", "on_step_end"]
    assert done.hooks() == [
        *("on_configure", "on_train_start", *step, *step, "on_checkpoint"),
        *(*step, "on_log", "on_checkpoint", "on_train_end"),
    ]
    assert done.hooks("asking") == ["on_step_end"] * 3
    assert done.hooks("toy") == ["add_formats", "make_task"]
    assert "make_optimizer" in done.hooks("core")
    assert Call("asking", "on_step_end", ("run", "result"), 1) in done.calls


def test_plugins_are_given_as_a_class_several_or_by_name_and_their_settings_by_theirs(
    tmp_path: Path, done: Fitted
) -> None:
    by_name = fit(tmp_path / "a", Asking, steps=1, asking={"at": 7}, toy={"samples": 6}, optim={"lr": 0.1})
    assert by_name.plugins["asking"].cfg.at == 7
    assert by_name.plugins["toy"].cfg.samples == 6
    nested = fit(tmp_path / "b", {"wish": Asking}, steps=1, plugins={"wish": {"at": 8}})
    assert nested.plugins["wish"].cfg.at == 8
    keyword = fit(tmp_path / "c", plugins=[Asking, Shelf], steps=3, log_interval=3)
    assert keyword.calls == done.calls
    assert all(np.array_equal(keyword.weights[name], weight) for name, weight in done.weights.items())
    with pytest.raises(UserError, match="there is no setting sample"):
        fit(tmp_path / "d", sample={"at": 8})


def test_a_shelf_gives_back_what_a_disk_would(tmp_path: Path) -> None:
    fit(tmp_path, [Asking, Shelf], steps=4, stop_at=2)
    assert "on_resume" in fit(tmp_path, [Asking, Shelf], steps=4, resume="latest").hooks()


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (9, [5])])
def test_strides_join_steps_and_change_nothing(tmp_path: Path, size: int, sizes: list[int]) -> None:
    plain = fit(tmp_path / "plain", steps=5)
    joined = fit(tmp_path / "joined", Strides, steps=5, strides={"size": size})
    assert [call.n for call in joined.calls if call.plugin == "recorder" and call.n] == sizes
    ends = np.cumsum(sizes) - 1
    assert joined.losses == [plain.losses[end] for end in ends]
    assert all(np.array_equal(joined.weights[name], weight) for name, weight in plain.weights.items())


def test_strides_go_around_other_strides(tmp_path: Path) -> None:
    around = fit(tmp_path, {"outer": Strides, "inner": Strides}, steps=6, outer={"size": 3}, inner={"size": 2})
    assert [call.n for call in around.calls if call.plugin == "recorder" and call.n] == [4, 2]
    with pytest.raises(UserError, match=r"plugins\.strides\.size must be at least 1, not 0"):
        fit(tmp_path / "none", Strides, strides={"size": 0})


def test_paintings_are_pictures_to_train_on(tmp_path: Path) -> None:
    assert len(list(Paintings(3))) == 3
    assert len({sample["caption"] for sample in Paintings(3)}) == 3
    assert fit(tmp_path, Painted, task=Pictures, steps=3).losses[2] > 0
