"""What both ways of showing progress have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Display(ABC):
    """Shows one run. ``close`` may be called at any time, and more than once."""

    @abstractmethod
    def compiling(self) -> None:
        """Show from now on for how long the first step has been compiling."""

    @abstractmethod
    def compiled(self) -> None:
        """Stop showing it."""

    @abstractmethod
    def advance(self, step: int, left: float | None) -> None:
        """Show how many steps are done, and in how many seconds the rest will be, if that is known."""

    @abstractmethod
    def figures(self, texts: Mapping[str, str]) -> None:
        """Show the newest values, label -> text."""

    @abstractmethod
    def close(self) -> None:
        """Leave the screen as it was found."""
