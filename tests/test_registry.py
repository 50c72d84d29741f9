"""The registry: what it refuses, in which order it calls, and that plugin order changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.defaults import Defaults
from mindloom.registry import Registry, in_order
from mindloom.testing import fit


class Speaker(Plugin):
    """Writes down that it was called."""

    def __init__(self, log: list[str] | None = None) -> None:
        super().__init__()
        self.heard = log

    @hookimpl
    def on_train_start(self) -> None:
        assert self.heard is not None
        self.heard.append(self.name)


class Filler(Plugin):
    """Fills a slot."""

    @hookimpl
    def make_schedule(self) -> Any:
        return lambda step: 0.5


def registered(**plugins: Plugin) -> Registry:
    for name, plugin in plugins.items():
        plugin.name = name
    return Registry(plugins, Defaults())


def refusal(**plugins: Plugin) -> str:
    with pytest.raises(UserError) as caught:
        registered(**plugins)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_hook_suggests_the_nearest() -> None:
    class Typo(Plugin):
        @hookimpl
        def on_trian_start(self) -> None: ...

    words = (
        "plugin 'typo' implements an unknown hook: there is no hook 'on_trian_start': did you mean 'on_train_start'?"
    )
    assert refusal(typo=Typo()) == words


def test_an_unknown_hook_argument_suggests_the_nearest() -> None:
    class Typo(Plugin):
        @hookimpl
        def on_log(self, run: Any, recrod: Any) -> None: ...

    assert "plugin 'typo': there is no argument 'recrod' of on_log: did you mean 'record'" in refusal(typo=Typo())


def test_an_argument_with_a_default_is_refused_because_it_would_hide_the_value() -> None:
    class Default(Plugin):
        @hookimpl
        def on_log(self, run: Any, record: Any = None) -> None: ...

    assert "plugin 'default': the argument 'record' of on_log must not have a default" in refusal(default=Default())


def test_a_forgotten_hookimpl_is_refused() -> None:
    class Forgot(Plugin):
        def on_log(self, record: Any) -> None: ...

    assert "plugin 'forgot' defines on_log without @hookimpl" in refusal(forgot=Forgot())


def test_a_subclass_may_switch_a_hook_off() -> None:
    class Without(Filler):
        make_schedule = None  # type: ignore[assignment]

    assert registered(without=Without()).fillers("make_schedule") == []


def test_hooks_take_any_subset_of_their_arguments_in_any_order() -> None:
    heard: list[Any] = []

    class Few(Plugin):
        @hookimpl
        def on_log(self, record: Any) -> None:
            heard.append(record)

    class Swapped(Plugin):
        @hookimpl
        def on_log(self, record: Any, run: Any) -> None:
            heard.append((record, run))

    registered(few=Few(), swapped=Swapped()).call("on_log", run=1, record=2)
    assert heard == [2, (2, 1)]


class Wrapper(Plugin):
    """Halves what fills the slot."""

    @hookimpl(wrapper=True)
    def make_schedule(self) -> Generator[None, Any, Any]:
        rate = yield
        return lambda step: rate(step) / 2


def test_two_fillers_of_a_slot_are_refused_naming_both() -> None:
    message = refusal(first=Filler(), second=Filler())
    assert "plugins 'first' and 'second' both fill make_schedule: switch one off with --plugins no:second" in message


def test_wrappers_stand_beside_a_filler_and_beside_each_other() -> None:
    registry = registered(outer=Wrapper(), filler=Filler(), inner=Wrapper())
    assert registry.call("make_schedule", run=None)(0) == 0.125
    assert registry.fillers("make_schedule") == ["filler"]
    assert registry.fillers("make_schedule", wrappers=True) == ["outer", "inner"]


def test_the_core_answers_last_and_a_filler_goes_before_it() -> None:
    assert registered().call("make_world", cfg=None, device=None).size == 1
    assert registered(filler=Filler()).call("make_schedule", run=None)(0) == 0.5


def test_plugins_are_called_in_the_order_in_which_they_were_enabled() -> None:
    log: list[str] = []
    registered(c=Speaker(log), a=Speaker(log), b=Speaker(log)).call("on_train_start", run=None)
    assert log == ["c", "a", "b"]


def test_before_and_after_hold_in_any_order_of_enabling_and_tolerate_absentees() -> None:
    class First(Plugin):
        before = ("middle", "absent")

    class Last(Plugin):
        after = ("middle", "absent")

    for names in itertools.permutations(["first", "middle", "last", "free"]):
        kinds: dict[str, Plugin] = {"first": First(), "middle": Plugin(), "last": Last(), "free": Plugin()}
        order = in_order({name: kinds[name] for name in names})
        assert order.index("first") < order.index("middle") < order.index("last")


def test_a_circle_is_refused_naming_its_members() -> None:
    class A(Plugin):
        before = ("b",)

    class B(Plugin):
        before = ("a",)

    message = refusal(a=A(), b=B(), c=Plugin())
    assert "a < b" in message or "b < a" in message


def test_each_answer_of_a_contribution_has_its_owner() -> None:
    class Meter(Plugin):
        @hookimpl
        def add_metrics(self) -> dict[str, float]:
            return {"x": 1.0}

    class Quiet(Plugin):
        @hookimpl
        def add_metrics(self) -> None: ...

    answers = registered(a=Meter(), b=Quiet(), c=Meter()).collect("add_metrics", run=None, result=None)
    assert answers == [("a", {"x": 1.0}), ("c", {"x": 1.0})]


class Pairs(Plugin):
    """Offers a format."""

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        return {"pairs": None}


def test_two_offers_of_one_format_are_refused_naming_both() -> None:
    with pytest.raises(UserError, match="plugins 'a' and 'b' both offer the dataset format 'pairs': switch one off"):
        registered(a=Pairs(), b=Pairs()).merge("add_formats", what="dataset format")
    assert registered(a=Pairs()).merge("add_formats", what="dataset format") == {"pairs": None}


def test_only_plugins_for_all_ranks_hear_logs_on_other_processes() -> None:
    log: list[str] = []

    class Everywhere(Speaker):
        ranks = "all"

    registry = registered(main=Speaker(log), everywhere=Everywhere(log))
    registry.call_ranked("on_train_start", False, run=None)
    registry.call_ranked("on_train_start", True, run=None)
    assert log == ["everywhere", "main", "everywhere"]


class HalfRate(Plugin):
    """Halves the learning rate."""

    @hookimpl(wrapper=True)
    def make_schedule(self) -> Generator[None, Any, Any]:
        rate = yield
        return lambda step: rate(step) / 2


class Meter(Plugin):
    """Measures something."""

    @hookimpl
    def add_metrics(self, run: Any) -> dict[str, float]:
        return {"step": run.step}


class Relay(Plugin):
    """Passes dispatches on."""

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Generator[None, Any, Any]:
        results = yield
        return iter(results)


def test_the_order_of_plugins_changes_no_loss_and_no_weight(tmp_path: Path) -> None:
    kinds: dict[str, type[Plugin]] = {"half": HalfRate, "meter": Meter, "relay": Relay}
    runs = []
    for number, names in enumerate(
        [("half", "meter", "relay"), ("relay", "half", "meter"), ("meter", "relay", "half")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        runs.append(fit(folder, {name: kinds[name] for name in names}))
    for other in runs[1:]:
        assert other.losses == runs[0].losses
        assert all((other.weights[name] == weight).all() for name, weight in runs[0].weights.items())
    assert [record["meter/step"] for record in runs[0].records] == [1, 2, 3, 4]
    assert runs[0].records[0]["lr"] == 0.005
