"""A stopwatch that divides the time of a run: each moment counts for the innermost activity under way, for no other.

So the parts add up to the whole by construction, and what wraps something is not charged for what it wraps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

Activity = tuple[str, str]
"""Who, and what."""


@dataclass
class Spent:
    """What one activity took.

    Attributes:
        calls: how often it was begun.
        seconds: of its own.
    """

    calls: int = 0
    seconds: float = 0.0


class Lap:
    """An activity while it lasts: ``with watch.lap(...) as lap``; ``lap.seconds`` are its own, afterwards."""

    def __init__(self, watch: Stopwatch, spent: Spent) -> None:
        self.watch, self.spent, self.seconds = watch, spent, 0.0

    def __enter__(self) -> Lap:
        self.watch.charge()
        self.watch.laps.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.charge()
        self.watch.laps.remove(self)


class Stopwatch:
    """Runs from when it is made.

    Args:
        rest: whose time it is while nothing else is under way.
        clock: seconds.

    Attributes:
        spent: every activity so far.
        laps: what is under way, the innermost last.
    """

    def __init__(self, rest: Activity, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.spent = {rest: Spent()}
        self.laps = [Lap(self, self.spent[rest])]
        self.charged_until = clock()

    def lap(self, activity: Activity, calls: int = 1) -> Lap:
        """Begin an activity; ``calls=0`` goes on with one that was counted before."""
        spent = self.spent.setdefault(activity, Spent())
        spent.calls += calls
        return Lap(self, spent)

    def charge(self) -> None:
        """Give the time since the last change to whom it belongs."""
        now, lap = self.clock(), self.laps[-1]
        passed, self.charged_until = now - self.charged_until, now
        lap.seconds += passed
        lap.spent.seconds += passed

    def read(self) -> dict[Activity, Spent]:
        """Everything up to now, the longest first."""
        self.charge()
        return dict(sorted(self.spent.items(), key=lambda item: -item[1].seconds))
