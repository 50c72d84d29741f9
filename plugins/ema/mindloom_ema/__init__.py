"""The plugin ``ema``: an exponential moving average of the trained weights, saved and shown beside them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.run import Run
    from mindloom.step import StepParts

__all__ = ["Ema"]


class Ema(Plugin):
    """An exponential moving average of the trained weights: saved as a model of its own, resumed, drawn with."""

    @dataclass
    class Config:
        decay: float = setting(0.9999, "share of the average that an update keeps, once warmed up")
        warmup: bool = setting(True, "keep less at first: min(decay, (1 + n) / (10 + n)) at the n-th update")
        every: int = setting(1, "optimizer steps between updates")
        start: int = setting(0, "steps during which the average just follows the weights")

    @hookimpl
    def on_configure(self) -> None:
        """Refuse values that cannot work."""
        if not 0 <= self.cfg.decay < 1:
            raise UserError(f"ema decay must be from 0 to below 1, not {self.cfg.decay:g}", self._key("decay"))
        for key, least in (("every", 1), ("start", 0)):
            if self.cfg[key] < least:
                raise UserError(f"ema {key} must be at least {least}, not {self.cfg[key]}", self._key(key))

    def _key(self, key: str) -> str:
        return f"plugins.{self.name}.{key}"

    @hookimpl(wrapper=True)
    def make_step(self, run: Run, parts: StepParts) -> Generator[None, Any, Any]:
        """Let the step end with an update of the average."""
        from mindloom.averages import Averages

        from .step import AveragedStep

        step = yield
        cfg = self.cfg
        averaged = AveragedStep(step, parts.params, cfg.decay, cfg.warmup, cfg.every, cfg.start)
        copies = list(zip(parts.params, averaged.copies, strict=True))
        run.keep_averages(Averages(self.name, copies, (averaged.updates, averaged.steps)))
        size = sum(param.size for param in parts.params)
        run.log.info("averaging %.2f M parameters with decay %g: %.2f GB", size / 1e6, cfg.decay, size * 4 / 1e9)
        return averaged
