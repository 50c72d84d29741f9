"""What a plugin's class may not look like: refused when it is registered, with the way to write it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.defaults import Defaults
from mindloom.registry import Registry


def refusal(body: dict[str, Any]) -> str:
    plugin = type("Bad", (Plugin,), body)()
    with pytest.raises(UserError) as caught:
        Registry({"bad": plugin}, Defaults())
    return str(caught.value).removeprefix("plugin 'bad'").lstrip(": ")


async def waits(self: Any) -> None:
    """Never runs."""


async def streams(self: Any) -> AsyncIterator[int]:
    yield 1


def wraps(self: Any) -> Generator[None, Any, Any]:
    return (yield)


STEP_END = "def on_step_end(self, run, result)"


@pytest.mark.parametrize(("name", "found", "words"), [
    ("on_log", hookimpl(waits), "on_log is async, so nothing in it would ever run: write def, without async"),
    ("add_metrics", hookimpl(streams), "add_metrics is async, so nothing in it would ever run: write def, without"),
    ("on_step_end", hookimpl(lambda self, *, run: None),
     f"in on_step_end, run is keyword-only and takes nothing from the core: write {STEP_END}"),
    ("on_step_end", hookimpl(lambda self, *args: None),
     f"in on_step_end, *args takes nothing from the core: write {STEP_END}"),
    ("on_step_end", hookimpl(lambda self, run, **others: None), "in on_step_end, **others takes nothing from the core"),
    ("on_train_start", hookimpl(lambda: None), "on_train_start has no self: write def on_train_start(self, run)"),
    ("on_step_end", staticmethod(hookimpl(lambda run: None)),
     f"on_step_end is a staticmethod: write @hookimpl and {STEP_END}"),
    ("on_step_end", property(hookimpl(lambda self: None)), "on_step_end is a property: write @hookimpl and def"),
    ("on_step_end", 3, "on_step_end is no method but 3: write @hookimpl and def"),
    ("before", None, "before must be a tuple of plugins' names: write before = ('name',)"),
    ("after", (Plugin,), "after must be a tuple of plugins' names: write after = ('name',)"),
    ("state_dict", hookimpl(lambda self: {}), "state_dict is no hook, the core calls it anyway: take @hookimpl away"),
    ("on_step_end", hookimpl(wrapper=True)(wraps), "wraps on_step_end, but only make_ hooks can be wrapped"),
    ("add_metrics", hookimpl(wrapper=True)(wraps), "wraps add_metrics, but only make_ hooks can be wrapped"),
])  # fmt: skip
def test_what_the_core_could_not_call_is_refused_with_the_remedy(name: str, found: object, words: str) -> None:
    assert refusal({name: found}).startswith(words)


def test_a_decorator_that_keeps_the_signature_and_a_hook_set_to_none_pass() -> None:
    def told(self: Any, run: Any) -> None:
        """Observe."""

    @functools.wraps(told)
    def decorated(*args: Any) -> None:
        told(*args)

    body = {"on_train_start": hookimpl(decorated), "on_log": None, "before": ["other"]}
    Registry({"good": type("Good", (Plugin,), body)()}, Defaults())
