"""The plugin ``cache``: what a model's frozen parts make of each sample is computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.run import Run
    from mindloom.task import Task

__all__ = ["Cache"]


class Cache(Plugin):
    """Results of the frozen encoders, computed once, verified by hash; training does without the encoders."""

    @dataclass
    class Config:
        folder: str = setting("", "where results are kept, for many runs; empty: ~/.cache/mindloom/features")
        batch_size: int = setting(4, "contents encoded at once")
        keep_encoders: bool = setting(False, "leave the encoders in the model: for pictures and held-out samples")
        dtype: str = setting("float32", "of stored results; float16 takes half the space and rounds to three digits")

    cfg: Any

    @hookimpl
    def on_configure(self) -> None:
        """Refuse values that cannot work."""
        if self.cfg.batch_size < 1:
            raise UserError(
                f"{self.key('batch_size')} must be at least 1, not {self.cfg.batch_size}", self.key("batch_size")
            )
        if self.cfg.dtype not in ("float32", "float16"):
            raise UserError(
                f"{self.key('dtype')} must be float32 or float16, not {self.cfg.dtype!r}", self.key("dtype")
            )

    def key(self, name: str) -> str:
        """The dotted name of a setting."""
        return f"plugins.{self.name}.{name}"

    @hookimpl(wrapper=True)
    def make_task(self, run: Run) -> Generator[None, Task | None, Task | None]:
        """Have everything computed that the samples may need, and give the samples' results to the task."""
        if not (run.dry or run.cfg.weight):
            raise UserError(
                f"{self.name} keeps what trained encoders compute, but no weights were given: set --weight, or "
                f"switch it off with --plugins no:{self.name}",
                "weight",
            )
        task = yield
        if task is None:
            return None
        frozen = task.frozen()
        if frozen is None:
            raise UserError(f"this task has no frozen part to cache: switch it off with --plugins no:{self.name}")
        if not run.dry:
            from .session import serve

            run.task = task  # frames of samples depend on its resolution
            serve(run, frozen, self.cfg)
        frozen.switch()
        if not self.cfg.keep_encoders:
            frozen.drop(f"set {self.key('keep_encoders')}=true")
            run.log.info(
                "%s: the encoders left the model: there are no preview pictures, and checkpoints hold what trains; "
                "%s=true keeps them", self.name, self.key("keep_encoders"),
            )  # fmt: skip
        return task
