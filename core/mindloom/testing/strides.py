"""Several steps in one dispatch, whoever drives them: what a plugin sees of a run with a data sink, on any device."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..ending import ending
from ..errors import UserError
from ..plugin import Plugin, hookimpl
from ..schema import setting

if TYPE_CHECKING:
    from ..step import StepResult


class Strides(Plugin):
    """Join the results of several steps into one dispatch, as a data sink does; what is computed stays the same."""

    @dataclass
    class Config:
        size: int = setting(2, "steps in one dispatch")

    @hookimpl
    def on_configure(self) -> None:
        """Refuse a size that is none."""
        if self.cfg.size < 1:
            key = f"plugins.{self.name}.size"
            raise UserError(f"{key} must be at least 1, not {self.cfg.size}", setting=key)

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Generator[None, Any, Iterator[StepResult]]:
        """Take any stepper's results together."""
        stepper = yield
        return joined(stepper, self.cfg.size)


def joined(stepper: Iterator[StepResult], size: int) -> Iterator[StepResult]:
    """Yield the last of so many results that ``size`` steps are full; of fewer at the end."""
    n = 0
    with ending(stepper) as results:
        for result in results:
            n += result.n
            whole = replace(result, n=n)
            if n >= size:
                yield whole
                n = 0
        if n:
            yield whole
