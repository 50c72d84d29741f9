"""Every test of the contract fails for a plugin that breaks what it is about, and says what to do."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.discovery import Found, load_file
from mindloom.schema import setting
from mindloom.testing import PluginContract, Toy, ToyTask, contract_promises

sys.path.insert(0, str(Path(__file__).parent))
from bad_plugins import (
    Both,
    Calls,
    Coloured,
    Escaped,
    First,
    Forgiving,
    Good,
    Idle,
    Leaving,
    Lost,
    Needy,
    Once,
    Picky,
    Rewording,
    Sheltering,
    Silent,
    Sulking,
    Unopened,
    Unsavable,
    Unsaved,
    complaint,
)


class TestGood(PluginContract):
    plugin = Good


@pytest.mark.parametrize(
    ("kind", "test", "words"),
    [
        (Silent, "its_class_says_what_it_does", "Silent has no docstring: say in one line"),
        (Idle, "its_class_says_what_it_does", "Idle implements no hook: mark methods with @hookimpl"),
        (Silent, "every_setting_has_a_help_text", "no help text for start: declare it as setting"),
    ],
)
def test_what_is_not_said_is_missed(kind: type[Plugin], test: str, words: str) -> None:
    assert words in complaint(kind, test)


@pytest.mark.parametrize(
    ("kind", "test", "words"),
    [
        (Needy, "it_builds_from_its_defaults", "plugins.bad.end has no default and must be set"),
        (Picky, "it_builds_from_its_defaults", "let __init__ take nothing but cfg = None"),
        (Escaped, "its_settings_survive_yaml", "cannot be read again"),
        (Coloured, "its_settings_survive_yaml", "the setting colour is <Colour.RED: 'red'>, and 'RED' when it is read"),
    ],
)
def test_settings_that_do_not_work_are_met(kind: type[Plugin], test: str, words: str) -> None:
    assert words in complaint(kind, test)
    assert not complaint(Good, test)


def test_a_setting_that_a_plugin_insists_on_is_named_in_the_contract() -> None:
    class Ending(Good):
        """Has to be told where it ends."""

        @dataclass
        class Config:
            start: int = setting(0, "where counting begins")
            end: str = setting("", "where it ends")

        @hookimpl
        def on_configure(self) -> None:
            """Refuse to run without an end."""
            if not self.cfg.end:
                raise UserError("bad needs an end", setting="plugins.bad.end")

    test = "it_builds_from_its_defaults"
    assert "bad needs an end" in complaint(Ending, test)
    assert not complaint(Ending, test, settings={"end": "here"})


def test_another_api_in_the_metadata_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Found("bad", "mindloom.testing:Toy", "1", "", "pets", api=2, distribution="pets")
    monkeypatch.setattr(contract_promises, "discover", lambda: {"bad": found})
    said = complaint(Toy, "its_metadata_and_its_class_name_the_same_api")
    assert said.startswith("the class says api = 1 and its metadata 2: let the entry-point group mindloom.api say bad")
    monkeypatch.setattr(Toy, "api", 9)
    assert "written for version 9" in complaint(Toy, "its_metadata_and_its_class_name_the_same_api")


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[str], type[Plugin]]:
    """Import a module whose first lines are given, with an idle plugin in it."""

    def load(lines: str) -> type[Plugin]:
        path = tmp_path / "bad.py"
        rest = "class Bad(Plugin):\n    'Bad.'\n    @hookimpl\n    def on_step_end(self, run): ...\n"
        path.write_text(f"from mindloom import Plugin, hookimpl\n{textwrap.dedent(lines)}\n{rest}")
        return load_file(path)[1]

    return load


def test_an_import_of_mindspore_is_met_wherever_it_hides(imported: Callable[[str], type[Plugin]]) -> None:
    test = "importing_it_does_not_import_mindspore"
    bad = imported("try:\n    from mindspore import nn\nexcept ImportError:\n    pass")
    assert "bad.py: from mindspore import nn): import it inside the hooks" in complaint(bad, test)
    assert not complaint(imported("import json"), test)


CHANGE = """
from mindloom.testing import ToyTask
old = ToyTask.transform
def transform(self, sample, draw):
    return {name: column * 2 for name, column in old(self, sample, draw).items()}
"""


def test_a_change_at_import_is_met(imported: Callable[[str], type[Plugin]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTask, "transform", ToyTask.transform)  # to be restored
    said = complaint(imported(CHANGE + "ToyTask.transform = transform"), "switched_off_it_changes_nothing")
    assert "--plugins no:bad a run is not what it is in a process that never imported it (losses differs in 4" in said


def test_a_change_that_a_hook_leaves_behind_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTask, "transform", ToyTask.transform)

    class Bad(Good):
        """Patches the task when training starts, and never takes it back."""

        @hookimpl
        def on_train_start(self, run: Any) -> None:
            """Leave targets out of account."""
            old = ToyTask.transform
            monkeypatch.setattr(ToyTask, "transform", lambda *known: {**old(*known), "targets": np.ones(1, np.float32)})

    assert "change nothing that outlives the plugin" in complaint(Bad, "switched_off_it_changes_nothing")


@pytest.mark.parametrize(
    ("kind", "words"), [(Unopened, "closing a plugin that never ran fails"), (Once, "never ran again fails")]
)
def test_a_close_that_works_only_once_is_met(kind: type[Plugin], words: str) -> None:
    assert words in complaint(kind, "it_can_be_closed_twice")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Lost, "after load_state_dict its state is {'count': 0"),
        (Unsavable, "'seen' of its state_dict is neither JSON nor an array of numbers: {1, 2}: return dicts"),
    ],
)
def test_a_state_that_does_not_survive_is_met(kind: type[Plugin], words: str) -> None:
    assert words in complaint(kind, "its_state_survives_a_checkpoint")


ORDER, DISPATCH, RESUME = (
    "its_place_among_plugins_does_not_matter",
    "several_steps_in_a_dispatch_change_nothing",
    "stopped_and_resumed_it_ends_as_in_one_go",
)


TOGETHER = "stopped_reordered_and_in_large_dispatches_it_ends_the_same"


@pytest.mark.parametrize(
    ("kind", "met"),
    [
        (Unsaved, {RESUME: "resumed at step 2, model bias differs in 1 of 1 numbers: what must survive", TOGETHER: ""}),
        (Calls, {DISPATCH: "2 steps in a dispatch, its state is {'count': 2", TOGETHER: ""}),
        (First, {ORDER: "after the others instead of before them, the loss of step 1 is", TOGETHER: ""}),
        (Both, {TOGETHER: "if none does, it is their combination"}),
    ],
)
def test_what_depends_on_how_the_run_is_put_together_is_met_and_told_apart(
    kind: type[Plugin], met: dict[str, str]
) -> None:
    contract = type("Contract", (PluginContract,), {"plugin": kind, "name": "bad"})()
    for test in (ORDER, DISPATCH, RESUME, TOGETHER):
        if test not in met:
            getattr(contract, f"test_{test}")()
            continue
        with pytest.raises(AssertionError) as caught:
            getattr(contract, f"test_{test}")()
        assert met[test] in str(caught.value)


OWN, OTHERS, RUN = (
    "an_error_in_any_of_its_hooks_is_blamed_on_it",
    "errors_of_others_pass_through_it",
    "a_run_that_fails_in_it_says_so",
)


@pytest.mark.parametrize(
    ("kind", "test", "words"),
    [
        (Forgiving, OWN, "on_step_end swallows an error: catch only what it can mend"),
        (Leaving, OWN, "an error in on_step_end ends as SystemExit(3)"),
        (Sheltering, OTHERS, "another's error in make_stepper comes out as TrainingError('the stepper ended"),
        (
            Rewording,
            OTHERS,
            "an error of other in make_stepper reads \"plugin 'bad' failed in make_stepper: RuntimeError",
        ),
        (Sulking, RUN, "after an error, plugin 'bad' failed in on_exception: AttributeError"),
    ],
)
def test_errors_that_are_hidden_or_multiplied_are_met(kind: type[Plugin], test: str, words: str) -> None:
    assert words in complaint(kind, test)


def test_a_hook_that_is_a_coroutine_is_met() -> None:
    class Later(Good):
        """Would never run."""

        @hookimpl
        async def on_log(self, record: Any) -> None:
            """Wait."""

    assert "async" in complaint(Later, "it_builds_from_its_defaults")


def test_where_nothing_can_be_built_one_test_tells_why_and_the_others_where_to_look() -> None:
    tests = [name.removeprefix("test_") for name in dir(PluginContract) if name.startswith("test_")]
    said = {test: complaint(Needy, test) for test in tests}
    assert "must be set" in said.pop("it_builds_from_its_defaults")
    short = "bad does not build from its defaults: see test_it_builds_from_its_defaults"
    assert {text for text in said.values() if text} == {short}
    assert len([text for text in said.values() if text]) >= 12


def test_no_test_of_the_contract_is_left_unproven() -> None:
    proofs = (Path(__file__), Path(__file__).with_name("test_contract_leaves.py"))
    source = "".join(path.read_text(encoding="utf-8") for path in proofs)
    promised = [name.removeprefix("test_") for name in dir(PluginContract) if name.startswith("test_")]
    assert len(promised) == 17
    assert not [name for name in promised if f'"{name}"' not in source]
