"""Where a run happens: the device, and this process's place among the others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """The device that mindspore was set up for.

    Attributes:
        target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``.
        graph: whole-graph compilation rather than eager execution.
        name: what to show a person.
    """

    target: str
    graph: bool
    name: str = ""


@dataclass(frozen=True)
class World:
    """The processes that train together. This one is a single process; a plugin answers with a subclass."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def share(self, text: str) -> str:
        """Return the main process's text on every process; returns once all of them called it."""
        return text

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process; returns once all of them called it."""
        return flag
