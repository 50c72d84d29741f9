"""Data parallel training: every process computes the gradients of its share of a batch, and all apply their mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from pathlib import Path

    from mindloom.world import World

LAUNCHERS = {"MS_ROLE": "msrun", "OMPI_COMM_WORLD_RANK": "mpirun", "RANK_TABLE_FILE": "a rank table"}
"""Environment variable -> who sets it."""


class Ddp(Plugin):
    """Data parallel training under msrun or mpirun: gradients averaged, parameters kept equal."""

    @dataclass
    class Config:
        fusion: int = setting(1, "groups that gradients are reduced in on Ascend and GPU; 0 reduces each by itself")
        verify: bool = setting(True, "compare the processes' parameters by checksum at the start and at checkpoints")

    failed = False

    @hookimpl
    def on_configure(self) -> None:
        """Refuse to run alone by accident."""
        if self.cfg.fusion < 0:
            raise UserError(f"ddp fusion must be at least 0, not {self.cfg.fusion}", setting="plugins.ddp.fusion")
        if not any(name in os.environ for name in LAUNCHERS):
            raise UserError(
                "ddp needs a launcher that starts the processes: "
                "msrun --worker_num=2 --local_worker_num=2 --join=True python train.py ... (or --plugins no:ddp)"
            )

    @hookimpl
    def make_world(self) -> World:
        """Join the group that the launcher made, and notice from now on when one of it is lost."""
        from .group import join
        from .watch import Watch

        self.group = join()
        self.watch = Watch(self.group)
        return self.group

    @hookimpl
    def make_reducer(self, params: Sequence[Any]) -> Any:
        """Average over the group."""
        from .reduce import Mean

        return Mean(self.group.size, len(params), self.cfg.fusion)

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Start from the main process's parameters everywhere."""
        from .parameters import broadcast

        broadcast(self.group, run.task.model.get_parameters())
        self.verify(run, "at the start")

    @hookimpl
    def on_checkpoint(self, run: Any, path: Path) -> None:
        """Whether everybody has the same, as what was saved was the main process's."""
        self.verify(run, f"at {path.name}" if run.step == run.saved_step else f"at step {run.step}, after {path.name}")

    def verify(self, run: Any, when: str) -> None:
        """Compare checksums."""
        from .parameters import verify

        if self.cfg.verify:
            verify(self.group, run.task.model.get_parameters(), when)

    @hookimpl
    def on_exception(self) -> None:
        """Remember it for the last word."""
        self.failed = True

    def close(self) -> None:
        """Leave, and say whether an error is the reason."""
        if hasattr(self, "watch"):
            self.watch.close(self.failed)
