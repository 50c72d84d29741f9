"""The plugin ``recompute``: blocks keep only their inputs, and are computed again when their gradient is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.run import Run

__all__ = ["Recompute"]


class Recompute(Plugin):
    """Activation checkpointing (Chen et al. 2016, arXiv:1604.06174) of the blocks that the task names."""

    cfg: Any

    @dataclass
    class Config:
        """How much to recompute."""

        every: int = setting(1, "recompute every n-th block: 1 all of them, 2 half of them")

    found: str | None = None

    @hookimpl
    def on_configure(self) -> None:
        """Reject what makes no sense.

        Raises:
            UserError: ``every`` is less than 1.
        """
        if self.cfg.every < 1:
            raise UserError(
                f"{self.cfg.every} is less than 1: set 1 to recompute every block, or leave the plugin out",
                setting="plugins.recompute.every",
            )

    @hookimpl(wrapper=True)
    def make_device(self) -> Generator[None, Any, Any]:
        """Prepare MindSpore, which reads such settings once, before its first operation."""
        self._reach_loops()
        return (yield)

    @hookimpl(wrapper=True)
    def make_step(self, run: Run) -> Generator[None, Any, Any]:
        """Mark the blocks before the step is made, when all other plugins have replaced what they replace in them."""
        blocks = run.task.blocks()
        for block in blocks[:: self.cfg.every]:
            block.recompute()
        if blocks:
            run.log.info("recompute: %d of %d blocks", len(blocks[:: self.cfg.every]), len(blocks))
        else:
            run.log.warning("recompute does nothing: the task names no blocks (Task.blocks)")
        return (yield)

    def _reach_loops(self) -> None:
        """Let MindSpore recompute before it inlines gradients: afterwards it looks at no loop's body.

        Accumulation is such a loop, and so is a dispatch of several steps on a CPU.
        """
        from mindspore._extends.parse import compile_config

        self.found = compile_config.ENABLE_RECOMPUTE_BEFORE_INLINE
        compile_config.ENABLE_RECOMPUTE_BEFORE_INLINE = "1"

    def close(self) -> None:
        """Put MindSpore's setting back."""
        if self.found is not None:
            from mindspore._extends.parse import compile_config

            compile_config.ENABLE_RECOMPUTE_BEFORE_INLINE, self.found = self.found, None
