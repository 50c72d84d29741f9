"""Where a run happens: the device, and this process's place among the others."""

from __future__ import annotations

from collections.abc import Callable
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


def _alone() -> None:
    """Wait for nobody."""


@dataclass(frozen=True)
class World:
    """The processes that train together; ``barrier()`` returns once all of them called it."""

    rank: int = 0
    size: int = 1
    barrier: Callable[[], None] = _alone

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0
