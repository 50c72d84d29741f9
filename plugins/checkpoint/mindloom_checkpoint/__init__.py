"""The plugin ``checkpoint``: saves the run every so often, and finds and reads what to resume from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import interval, setting

if TYPE_CHECKING:
    from mindloom.run import Run
    from mindloom.step import StepResult
    from omegaconf import DictConfig

    from .store import Store

__all__ = ["Checkpoint"]


class Checkpoint(Plugin):
    """Atomic, hashed checkpoints in safetensors, to resume from bit for bit."""

    @dataclass
    class Config:
        """How often, and how many."""

        every: int = interval(1000, "steps between checkpoints; 0 saves at the end only")
        keep: int = setting(3, "newest checkpoints kept; 0 keeps all")
        background: bool = setting(True, "write behind the training, which then waits for a copy in host memory only")

    store: Store
    every = 0
    """The setting, read once: looking one up takes ten microseconds, at every dispatch."""

    @hookimpl
    def on_configure(self, cfg: Any) -> None:
        """Refuse negative numbers."""
        for key in ("every", "keep"):
            if self.cfg[key] < 0:
                where = f"plugins.{self.name}.{key}"
                raise UserError(f"{where} must be 0 or more, not {self.cfg[key]}", setting=where)

    @hookimpl
    def make_checkpointer(self, cfg: DictConfig) -> Store:
        """Keep checkpoints in the folder ``checkpoints`` of the run folder."""
        from omegaconf import OmegaConf

        from .store import Store

        self.store = Store(OmegaConf.to_yaml(cfg), self.cfg.keep, self.cfg.background)
        return self.store

    @hookimpl
    def on_train_start(self, run: Run) -> None:
        """Find out now, and not after hours, whether checkpoints can be written."""
        self.every = self.cfg.every
        if run.world.is_main:
            self.store.prepare(run.path)

    @hookimpl
    def on_step_end(self, run: Run, result: StepResult) -> None:
        """Ask for a checkpoint when one is due."""
        if run.due(self.every, result.n):
            run.request_checkpoint(by=self.name)
