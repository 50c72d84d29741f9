"""``--trace-plugins``: a line for every call into a plugin, and at the end a table of who took how much of the time.

A run without the flag has a plain ``Registry`` and pays nothing. With it the same calls are made, in the same order and
with the same arguments: implementations, steppers and checkpointers only have a layer around them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, cast

import pluggy

from .plugin import Plugin
from .registry import CORE, Registry
from .stopwatch import Activity, Spent, Stopwatch
from .traced import Dispatches, Halves, kind

if TYPE_CHECKING:
    from .run import Run

LOG = logging.getLogger("mindloom")

REST, PRINTING = (CORE, "everything else"), (CORE, "printing this trace")
OUTSIDE = ("state_dict", "load_state_dict", "close")
"""What the core asks of a plugin besides hooks."""

COLUMNS = ("plugin", "call", "calls", "seconds", "ms each", "share %")


class TracedRegistry(Registry):
    """Tells of every call and how long it took by itself: what it calls or wraps counts on its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.watch = Stopwatch(REST)
        self.of: Run | None = None
        self.early: deque[str] = deque()  # a thread may add to it while it is read
        self.loop = threading.get_ident()
        self.behind: dict[Activity, Spent] = {}
        self.around(self._around)
        for name, plugin in self.plugins.items():
            self._time(name, plugin, [m for m in OUTSIDE if getattr(type(plugin), m) is not getattr(Plugin, m)])

    def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook, and note which run it is about."""
        self.of = arguments.get("run", self.of)
        return super().call(hook, **arguments)

    def close(self, log: logging.Logger) -> list[Exception]:
        """Close every plugin, then show the table: every run ends like this, failed and stopped ones too."""
        errors = super().close(log)
        self._catch_up()
        if self.of is None or self.of.world.is_main:
            LOG.info("trace: who took how long, without what they called or wrapped\n%s", self.table())
        return errors

    def table(self) -> str:
        """Every activity, the longest first."""
        from .tables import table

        rows: list[tuple[object, ...]] = []
        spent = self.watch.read()
        wall = sum(part.seconds for part in spent.values())
        for (who, what), part in spent.items():
            each = f"{1000 * part.seconds / part.calls:.3f}" if part.calls else ""
            rows.append((who, what, part.calls or "", f"{part.seconds:.4f}", each, f"{100 * part.seconds / wall:.2f}"))
        rows.append(("all", "", "", f"{wall:.4f}", "", "100.00"))
        for (who, what), part in [*self.behind.items()]:
            each = f"{1000 * part.seconds / part.calls:.3f}"
            rows.append((f"{who} (behind)", what, part.calls, f"{part.seconds:.4f}", each, ""))
        return table(COLUMNS, rows, right=COLUMNS[2:])

    def say(self, who: str, what: str, outcome: str, seconds: float) -> None:
        """Log a call, on the main process only.

        Lines wait until the run is known: only then is it clear which process is the main one, and ``run.log`` is open.
        """
        with self.watch.lap(PRINTING):
            step = self.of.step if self.of else 0
            self.early.append(f"trace step {step} {what} {who} -> {outcome} {1000 * seconds:.2f} ms")
            if self.of is not None:
                self._catch_up()

    def say_behind(self, who: str, what: str, outcome: str, seconds: float) -> None:
        """Note a call in another thread: its line comes with the loop's next, and its time is none of the loop's."""
        spent = self.behind.setdefault((who, what), Spent())
        spent.calls, spent.seconds = spent.calls + 1, spent.seconds + seconds
        step = self.of.step if self.of else 0
        self.early.append(f"trace step {step} {what} {who} (behind) -> {outcome} {1000 * seconds:.2f} ms")

    def _catch_up(self) -> None:
        while self.early:
            line = self.early.popleft()
            if self.of is None or self.of.world.is_main:
                LOG.info("%s", line)

    def timed(self, who: str, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its calls told."""

        def call(*args: Any, **options: Any) -> Any:
            if threading.get_ident() != self.loop:
                return self._behind(who, what, partial(function, *args, **options))
            outcome, lap = "", self.watch.lap((who, what))
            try:
                with lap:
                    answer = function(*args, **options)
                outcome = kind(answer)
                return answer
            except BaseException as error:
                outcome = f"raised {type(error).__name__}"
                raise
            finally:
                self.say(who, what, outcome, lap.seconds)

        return call

    def _behind(self, who: str, what: str, go: Callable[[], Any]) -> Any:
        outcome, began = "", time.perf_counter()
        try:
            answer = go()
            outcome = kind(answer)
            return answer
        except BaseException as error:
            outcome = f"raised {type(error).__name__}"
            raise
        finally:
            self.say_behind(who, what, outcome, time.perf_counter() - began)

    def _time(self, who: str, made: Any, methods: Sequence[str]) -> None:
        for method in methods:
            with suppress(AttributeError):  # a checkpointer with __slots__ is not timed
                setattr(made, method, self.timed(who, method, getattr(made, method)))

    def _around(self, hook: str, impl: pluggy.HookImpl) -> Callable[..., Any]:
        who, function = impl.plugin_name, cast(Callable[..., Any], impl.function)
        timed = self.timed(who, hook, function)

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if impl.wrapper or impl.hookwrapper:
                return Halves(self, who, hook, function(*args, **options))
            return self.adopt(who, hook, timed(*args, **options))

        return call

    def adopt(self, who: str, hook: str, made: Any) -> Any:
        """Time what works on during the run: a stepper's dispatches, and a checkpointer's saving and loading."""
        if hook == "make_stepper" and hasattr(made, "__next__"):
            return Dispatches(self, who, made)
        if hook == "make_checkpointer" and made is not None:
            self._time(who, made, ("save", "load"))
        return made
