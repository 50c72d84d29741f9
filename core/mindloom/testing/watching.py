"""Plugins for tests: checkpoints in memory, and a record of what happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..checkpoint import Checkpointer, Snapshot
from ..errors import UserError
from ..plugin import Plugin, hookimpl


class Shelf(Plugin):
    """Keeps checkpoints in memory for as long as the process lives, so that a plugin's tests can resume.

    What is not an array goes through JSON, as on a disk: a tuple comes back as a list.
    """

    kept: ClassVar[dict[Path, Snapshot]] = {}

    @hookimpl
    def make_checkpointer(self) -> Checkpointer:
        """This plugin itself."""
        return self

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        path = run_folder / f"step-{snapshot.meta['step']:08d}"
        self.kept[path] = replace(snapshot, meta=json.loads(json.dumps(snapshot.meta)))
        return path

    def find(self, what: str, root: Path) -> Path:
        path = self.latest(root) if what == "latest" else Path(what)
        if path not in self.kept:
            raise UserError(f"no checkpoint {what} below {root}", setting="resume")
        return path

    def latest(self, root: Path) -> Path | None:
        return max((path for path in self.kept if path.parent == root), default=None)

    def load(self, path: Path) -> Snapshot:
        return self.kept[path]

    def run_folder(self, path: Path) -> Path:
        return path.parent


class Recorder(Plugin):
    """Keeps every record and the weights at the end; and hears every event, so that ``Fitted.calls`` has them all."""

    ranks = "all"

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.records: list[dict[str, float]] = []
        self.weights: dict[str, np.ndarray] = {}
        self.run: Any = None

    @hookimpl
    def on_configure(self, cfg: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_resume(self, run: Any, path: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_step_start(self, run: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        """Keep the record."""
        self.records.append(dict(record))

    @hookimpl
    def on_checkpoint(self, run: Any, path: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_exception(self, run: Any, error: Any) -> None:
        """Only hear of it."""

    @hookimpl
    def on_train_end(self, run: Any) -> None:
        """Keep the weights."""
        self.run = run
        self.weights = {name: p.asnumpy().copy() for name, p in run.task.model.parameters_and_names()}

    @property
    def losses(self) -> list[float]:
        """The loss of every logged step."""
        return [record["loss"] for record in self.records if "loss" in record]
