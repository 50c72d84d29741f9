"""What a checkpoint holds, and what the core asks of who writes, finds and reads them: a plugin's business."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Arrays = dict[str, np.ndarray]
FORMAT = 1
GROUPS = ("model", "optimizer", "plugins")
"""Groups of arrays that every snapshot has."""


@dataclass(frozen=True)
class Snapshot:
    """A host copy of everything that a run needs to go on.

    Attributes:
        arrays: group -> name -> array. Groups: ``model`` (names as on disk), ``optimizer`` (all further state of the
            step: moments, counters, loss scale), ``plugins``; and with averaged weights one named by their plugin: the
            complete model with averages in the place of what is trained (:mod:`mindloom.averages`).
        meta: JSON: counters, versions, plugins' states, and which plugins altered the model.
    """

    arrays: dict[str, Arrays]
    meta: dict[str, Any]


class Checkpointer(Protocol):
    """Writes, finds and reads checkpoints. ``save`` is called on the main process only.

    With an attribute ``background`` that is true, ``save`` is called in a thread of its own while the training goes on:
    never twice at a time, but perhaps together with the other methods. Such a ``save`` calls nothing of MindSpore, and
    keeps none of the snapshot's arrays: the next snapshot uses their memory.
    """

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        """Write a snapshot so that it is either complete or absent; return its path."""
        ...

    def find(self, what: str, root: Path) -> Path:
        """Resolve ``--resume``: ``latest`` or a step's number below ``root``, or a checkpoint or run folder.

        Raises:
            UserError: there is none, or it is incomplete.
        """
        ...

    def latest(self, root: Path) -> Path | None:
        """The newest complete checkpoint of the run folder ``root``, or of any run folder directly below it."""
        ...

    def load(self, path: Path) -> Snapshot:
        """Read one back."""
        ...

    def run_folder(self, path: Path) -> Path:
        """The run folder that a checkpoint belongs to."""
        ...


def in_background(checkpointer: Checkpointer | None) -> bool:
    """Whether its ``save`` may run in a thread: only if it says so, for most are not written for that."""
    return bool(getattr(checkpointer, "background", False))
