"""Old names of hooks and arguments: they work with a warning for a while, and then say what they are called now."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from mindloom import Plugin, UserError, api, compat, hookimpl
from mindloom.compat import Renamed
from mindloom.testing import fit

HEARD: list[tuple[str, str, Any]] = []


class Elder(Plugin):
    """Written when ``on_log`` was ``on_record`` and its ``record`` was ``values``."""

    @hookimpl
    def on_record(self, values: Any, run: Any) -> None:
        HEARD.append((self.name, "on_log", (run.step, values["loss"])))

    @hookimpl
    def on_step_end(self, outcome: Any) -> None:
        HEARD.append((self.name, "on_step_end", outcome.n))

    @hookimpl(wrapper=True, specname="make_rate")
    def schedule(self, this: Any) -> Generator[None, Any, Any]:
        rate = yield
        return lambda step: rate(step) / this.cfg.per_batch_size


class Younger(Plugin):
    """The same in today's words."""

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        HEARD.append((self.name, "on_log", (run.step, record["loss"])))

    @hookimpl
    def on_step_end(self, result: Any) -> None:
        HEARD.append((self.name, "on_step_end", result.n))

    @hookimpl(wrapper=True)
    def make_schedule(self, run: Any) -> Generator[None, Any, Any]:
        rate = yield
        return lambda step: rate(step) / run.cfg.per_batch_size


@pytest.fixture
def _renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a core of some later day would have in its tables."""
    HEARD.clear()
    monkeypatch.setattr(compat, "HOOKS", {"on_record": Renamed("on_log", 3), "make_rate": Renamed("make_schedule", 3)})
    arguments = {("on_log", "values"): "record", ("on_step_end", "outcome"): "result", ("make_schedule", "this"): "run"}
    monkeypatch.setattr(compat, "ARGUMENTS", {key: Renamed(new, 3) for key, new in arguments.items()})
    monkeypatch.setattr(api, "API", 2)


@pytest.mark.usefixtures("_renamed")
def test_old_names_get_the_same_values_in_the_same_order_as_new_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mindloom"):
        fitted = fit(tmp_path, {"first": Younger, "elder": Elder, "last": Younger}, steps=2)
    assert [(name, hook) for name, hook, _ in HEARD] == [
        (name, hook) for _ in range(2) for hook in ("on_step_end", "on_log") for name in ("first", "elder", "last")
    ]
    for hook in ("on_step_end", "on_log"):
        first, elder, last = ([v for n, h, v in HEARD if (n, h) == (name, hook)] for name in ("first", "elder", "last"))
        assert first == elder == last
    assert fitted.records[0]["lr"] == pytest.approx(0.01 / 2**3)
    told = [record.getMessage() for record in caplog.records if "plugin 'elder' uses" in record.getMessage()]
    assert sorted(told) == [
        f"plugin 'elder' uses {what}, which is now {new}: rename it there; the old name works until version 3 of the "
        "hooks"
        for what, new in [
            ("the argument outcome of on_step_end", "result"),
            ("the argument this of make_schedule", "run"),
            ("the argument values of on_log", "record"),
            ("the hook make_rate", "make_schedule"),
            ("the hook on_record", "on_log"),
        ]
    ]


@pytest.mark.usefixtures("_renamed")
@pytest.mark.parametrize(("hooks", "words"), [
    (True, r"^plugin 'elder' uses the hook \w+, which is now \w+: rename it there$"),
    (False, r"^plugin 'elder' uses the argument \w+ of \w+, which is now \w+: rename it there$"),
])  # fmt: skip
def test_old_names_are_refused_with_the_new_ones_when_their_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hooks: bool, words: str
) -> None:
    if not hooks:  # arguments alone are due
        monkeypatch.setattr(compat, "HOOKS", {old: Renamed(now.new, 4) for old, now in compat.HOOKS.items()})
    monkeypatch.setattr(api, "API", 3)
    with pytest.raises(UserError, match=words):
        fit(tmp_path, {"elder": Elder})


def test_without_an_entry_an_old_name_is_just_unknown(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="plugin 'elder' implements an unknown hook: there is no hook 'on_record'"):
        fit(tmp_path, {"elder": Elder})


@pytest.mark.usefixtures("_renamed")
def test_the_core_and_plugins_that_use_new_names_hear_no_difference(tmp_path: Path) -> None:
    assert len(fit(tmp_path, {"younger": Younger}, steps=2).losses) == 2
    assert len(HEARD) == 4


def test_entries_lead_from_names_that_are_gone_to_names_that_are_there() -> None:
    from mindloom.signatures import HOOKS

    for old, now in compat.HOOKS.items():
        assert old not in HOOKS
        assert now.new in HOOKS
    for (hook, old), now in compat.ARGUMENTS.items():
        assert old not in HOOKS[hook]
        assert now.new in HOOKS[hook]
    assert all(now.removed > api.API for now in [*compat.HOOKS.values(), *compat.ARGUMENTS.values()])
