"""What a trace counts: own times, by a clock that plugins move; and who is told of them."""

from __future__ import annotations

import logging
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from mindloom import Plugin, TrainingError, hookimpl
from mindloom.defaults import Defaults
from mindloom.registry import Registry
from mindloom.stopwatch import Stopwatch
from mindloom.tracing import REST, TracedRegistry
from mindloom.world import World


class Clockwork:
    """A clock that only moves when somebody takes his time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clockwork()


class Inner(Plugin):
    """Takes 5 seconds."""

    @hookimpl
    def make_schedule(self) -> Any:
        """Slowly."""
        CLOCK.now += 5.0
        return float


class Outer(Plugin):
    """Takes 1 second before, 2 after what it wraps, and has 3 spent by a hook that it calls."""

    registry: Registry

    @hookimpl(wrapper=True)
    def make_schedule(self) -> Generator[None, Any, Any]:
        """Wrap, and call."""
        CLOCK.now += 1.0
        schedule = yield
        self.registry.tell("on_exception", logging.getLogger("mindloom"), run=None, error=None)
        CLOCK.now += 2.0
        return schedule

    @hookimpl
    def on_exception(self) -> None:
        """Called inside the other one."""
        CLOCK.now += 3.0


@pytest.fixture
def registry() -> TracedRegistry:
    outer = Outer()
    outer.registry = registry = TracedRegistry({"outer": outer, "inner": Inner()}, Defaults())
    CLOCK.now = 0.0
    registry.watch = Stopwatch(REST, CLOCK)
    return registry


def test_what_is_wrapped_or_called_counts_for_itself(
    registry: TracedRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert registry.call("make_schedule", run=SimpleNamespace(step=7, world=World())) is float
    assert [message for message in caplog.messages if "trace step" in message] == [
        "trace step 7 make_schedule inner -> type 5000.00 ms",
        "trace step 7 on_exception outer -> None 3000.00 ms",
        "trace step 7 make_schedule outer (wraps) -> type 3000.00 ms",
    ]
    spent = {key: (part.calls, part.seconds) for key, part in registry.watch.read().items()}
    assert spent["outer", "make_schedule"] == (1, 3.0)
    assert spent["inner", "make_schedule"] == (1, 5.0)
    assert sum(seconds for _, seconds in spent.values()) == CLOCK.now == 11.0


def test_only_the_main_process_speaks(registry: TracedRegistry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        registry.call("make_schedule", run=SimpleNamespace(step=1, world=World(1, 2)))
        registry.close(logging.getLogger("mindloom"))
    assert not caplog.messages
    assert registry.watch.spent["outer", "on_exception"].calls == 1


def test_a_wrapper_that_passes_an_error_on_is_not_said_to_raise_it(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Plugin):
        @hookimpl
        def make_schedule(self) -> None:
            raise KeyError("lost")

    class Passes(Plugin):
        @hookimpl(wrapper=True)
        def make_schedule(self) -> Generator[None, Any, Any]:
            return (yield)

    registry = TracedRegistry({"passes": Passes(), "fails": Fails()}, Defaults())
    run = SimpleNamespace(step=1, world=World())
    with caplog.at_level(logging.INFO), pytest.raises(TrainingError, match="'fails' failed in make_schedule"):
        registry.call("make_schedule", run=run)
    assert [message.rsplit(" ", 2)[0] for message in caplog.messages] == [
        "trace step 1 make_schedule fails -> raised KeyError",
        "trace step 1 make_schedule passes (wraps) -> passed on KeyError",
    ]


def test_without_it_nothing_stands_between_pluggy_and_a_plugin() -> None:
    plugin = Outer()
    found = dict(Registry({"outer": plugin}, Defaults()).implementations())
    assert found["on_exception"].function == plugin.on_exception
    assert "close" not in vars(plugin)
