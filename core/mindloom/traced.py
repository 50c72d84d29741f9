"""The layers that a trace lays around what makes several parts of one call, or one call of several parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tracing import TracedRegistry

FIRST, DISPATCH = "first dispatch", "dispatch"
"""The first one compiles."""

MOST = 6
"""Keys of an answer that are told."""


class Dispatches(Iterator[Any]):
    """A stepper, each dispatch of which is a call."""

    def __init__(self, registry: TracedRegistry, who: str, stepper: Iterator[Any]) -> None:
        take = partial(next, stepper, None)
        self.stepper = stepper
        self.take, self.later = (registry.timed(who, what, take) for what in (FIRST, DISPATCH))

    def __next__(self) -> Any:
        result = self.take()
        self.take = self.later
        if result is None:
            raise StopIteration
        return result

    def close(self) -> None:
        """Close the stepper, if it can be closed."""
        getattr(self.stepper, "close", lambda: None)()


class Halves(Generator[Any, Any, Any]):
    """A hook wrapper's generator: what it does before and after the wrapped call is one call."""

    def __init__(self, registry: TracedRegistry, who: str, hook: str, inner: Generator[Any, Any, Any]) -> None:
        self.registry, self.who, self.hook, self.inner = registry, who, hook, inner
        self.seconds, self.calls = 0.0, 1

    @property
    def gi_code(self) -> Any:
        """What pluggy names when a wrapper yields too often or not at all."""
        return getattr(self.inner, "gi_code")  # noqa: B009  (unknown to the abstract type)

    def send(self, value: Any) -> Any:
        try:
            return self._half(partial(self.inner.send, value), value)
        except StopIteration as end:
            answer = end.value if end.value is value else self.registry.adopt(self.who, self.hook, end.value)
            raise StopIteration(answer) from None

    def throw(self, error: Any, *rest: Any) -> Any:
        return self._half(partial(self.inner.throw, error), error)

    def close(self) -> None:
        self.inner.close()

    def _half(self, go: Callable[[], Any], got: object) -> Any:
        outcome, lap = "", self.registry.watch.lap((self.who, self.hook), self.calls)
        try:
            with lap:
                return go()
        except StopIteration as end:
            outcome = kind(end.value)
            raise
        except BaseException as error:
            outcome = f"{'passed on' if error is got else 'raised'} {type(error).__name__}"
            raise
        finally:
            self.seconds, self.calls = self.seconds + lap.seconds, 0
            if outcome:
                self.registry.say(f"{self.who} (wraps)", self.hook, outcome, self.seconds)


def kind(answer: object) -> str:
    """What sort of thing an answer is: never what it holds, which may be large, or nobody's business."""
    if answer is None:
        return "None"
    if isinstance(answer, Mapping):
        keys = [*map(str, answer)]
        more = [f"{len(keys) - MOST} more"] if len(keys) > MOST else []
        return f"{type(answer).__name__} of {', '.join([*keys[:MOST], *more]) or 'nothing'}"
    if isinstance(answer, list | tuple):
        return f"{type(answer).__name__} of {len(answer)}"
    return type(answer).__name__
