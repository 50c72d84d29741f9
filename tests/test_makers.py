"""What plugins returned fails long after: an error in using it names them and the hook, and a false exit is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.blame import PluginError
from mindloom.data.opening import open_source
from mindloom.defaults import Defaults
from mindloom.discovery import load_file
from mindloom.edits import CellEdit, watched
from mindloom.formats import WrongSampleError, checked
from mindloom.makers import suspects
from mindloom.records import check_published
from mindloom.registry import Registry
from mindloom.results import misfit
from mindloom.testing import Pictures, fit
from mindspore import nn
from omegaconf import OmegaConf


def plugin(hook: str, answer: Callable[..., Any]) -> type[Plugin]:
    return type("Bad", (Plugin,), {hook: hookimpl(answer)})


def failing(folder: Path, hook: str, answer: Callable[..., Any]) -> str:
    with pytest.raises(PluginError) as caught:
        fit(folder, [plugin(hook, answer)], steps=2)
    return str(caught.value)


def exits(self: Any) -> None:
    raise SystemExit


@pytest.mark.parametrize("hook", ["on_configure", "on_step_end"])
def test_an_exit_in_a_hook_is_a_failure(tmp_path: Path, hook: str) -> None:
    assert failing(tmp_path, hook, exits) == f"plugin 'bad' failed in {hook}: it raised SystemExit()"


def test_an_exit_at_import_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(UserError, match=r"cannot be imported: it raised SystemExit\(0\)"):
        load_file(tmp_path / "leaves.py")


@pytest.mark.parametrize(("rate", "words"), [
    (lambda step: "high", "the learning rate must be a finite number, not 'high'"),
    (lambda step: float("nan"), "the learning rate must be a finite number, not nan"),
    (lambda step: np.ones(2), "the learning rate must be a finite number, not a ndarray"),
    (lambda: 1, "takes 0 positional arguments but 1 was given"),
])  # fmt: skip
def test_a_schedule_answers_for_its_rates(tmp_path: Path, rate: object, words: str) -> None:
    said = failing(tmp_path, "make_schedule", lambda self: rate)
    assert said.startswith("plugin 'bad' failed in what it returned from make_schedule: TypeError: ")
    assert said.endswith(words)


def test_a_stepper_must_yield_results(tmp_path: Path) -> None:
    said = failing(tmp_path, "make_stepper", lambda self: iter([3]))
    assert "what it returned from make_stepper: TypeError: it must yield StepResult, not 3 without n" in said


def test_cells_are_refused_that_the_step_cannot_call() -> None:
    assert "a ReLU with construct(input) where construct(lr, gradients) is called" in misfit(
        "make_optimizer", nn.ReLU()
    )
    assert misfit("add_grad_ops", [nn.ReLU()]) == misfit("make_reducer", nn.ReLU()) == ""


def registry(**plugins: type[Plugin]) -> Registry:
    return Registry({name: found() for name, found in plugins.items()}, Defaults())


def test_suspects_are_those_who_filled_a_slot_or_else_the_tasks_maker() -> None:
    task, other = plugin("make_task", lambda self: None), plugin("make_optimizer", lambda self: None)
    assert suspects(registry(task=task), ["make_optimizer"]) == "perhaps in what plugin 'task' returned from make_task"
    both = registry(task=task, other=other)
    assert suspects(both, ["make_optimizer"]) == "perhaps in what plugin 'other' returned from make_optimizer"
    assert suspects(registry(), ["make_optimizer"]) == ""


def test_the_functions_of_an_edit_answer_for_themselves() -> None:
    known = registry(bad=plugin("edit_model", lambda self: []))
    takes_one: Any = lambda name: True  # noqa: E731
    no_cell: Any = lambda name, cell: 5  # noqa: E731
    edit = watched(known, "bad", CellEdit(takes_one, no_cell, ""))
    with pytest.raises(PluginError, match=r"'bad' failed in what it returned from edit_model: TypeError: .* takes 1"):
        edit.match("inner", nn.ReLU())
    with pytest.raises(PluginError, match=r"must return an nn\.Cell or None, not 5"):
        edit.build("inner", nn.ReLU())


class Counted:
    def __init__(self, count: Any) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count  # type: ignore[no-any-return]

    def __getitem__(self, index: int) -> Any:
        return None


@pytest.mark.parametrize(("opened", "words"), [
    (lambda path, world: None, "the format 'e' must open something with __len__ and either __getitem__ or read, not"),
    (lambda path, world: {1}, "the format 'e' must open something with __len__ and either __getitem__ or read, not"),
    (lambda path, world: Counted("a"), "the len() of what the format 'e' opens must be a number, not 'a'"),
    (lambda path, world: Counted(-1), "the len() of what the format 'e' opens must be a number, not -1"),
    (lambda path: Counted(3), "takes 1 positional argument but 2 were given"),
])  # fmt: skip
def test_what_a_format_opens_is_judged_and_its_plugin_blamed(tmp_path: Path, opened: object, words: str) -> None:
    known = registry(bad=plugin("add_formats", lambda self: {"e": opened}))
    cfg = OmegaConf.create({"data": {"format": "e", "path": str(tmp_path)}})
    run: Any = SimpleNamespace(plugins=known, cfg=cfg, world=None)
    with pytest.raises(PluginError) as caught:
        open_source(run)
    assert str(caught.value).startswith("plugin 'bad' failed in what it returned from add_formats: TypeError: ")
    assert words in str(caught.value)


def test_a_sample_that_is_none_blames_the_format(tmp_path: Path) -> None:
    known = plugin("add_formats", lambda self: {"e": lambda path, world: Counted(3)})
    with pytest.raises(PluginError, match="'bad' failed in what it returned from add_formats: WrongSampleError: sam"):
        fit(tmp_path, [known], steps=2, task=Pictures, data={"format": "e"})
    with pytest.raises(WrongSampleError, match="the image of sample 7 must be the bytes of a picture's file, not 'x'"):
        checked({"image": "x"}, 7)


PICTURE = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(("values", "images", "texts", "words"), [
    ({"a": "no"}, {}, {}, "the value 'a' must be a number, not 'no'"),
    ({"a": np.ones(2)}, {}, {}, "the value 'a' must be a number, not a ndarray"),
    ({}, {"a": "no"}, {}, "the image 'a' must be a uint8 array [height, width, 3], not 'no'"),
    ({}, {"a": PICTURE / 2}, {}, "not a ndarray of float64 [2, 2, 3]"),
    ({}, {}, {"a": 3}, "the text 'a' must be a string, not 3"),
    ([1], {}, {}, "run.publish takes dicts of names, not a list"),
])  # fmt: skip
def test_what_loggers_could_not_write_is_refused_when_it_is_published(
    values: Any, images: Any, texts: Any, words: str
) -> None:
    check_published({"a": np.float32(1), "b": 2}, {"a": PICTURE}, {"a": "text"})
    with pytest.raises(TypeError) as caught:
        check_published(values, images, texts)
    assert words in str(caught.value)


def test_an_odd_message_does_not_hide_the_error_and_a_refusal_names_its_hook(tmp_path: Path) -> None:
    def odd(self: Any) -> None:
        raise ValueError("\ud800")

    def refuses(self: Any) -> None:
        raise UserError("do not do that")

    assert "ValueError: \ud800" in failing(tmp_path, "on_step_end", odd)
    assert "\\ud800" in (tmp_path / "run" / "error.txt").read_text()
    with pytest.raises(UserError, match="do not do that") as caught:
        fit(tmp_path, [plugin("on_step_end", refuses)], steps=2)
    assert caught.value.__notes__ == ["plugin 'bad', on_step_end"]
