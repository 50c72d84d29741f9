"""Half precision: what is stored and computed as float16, what stays float32, and how the loss is scaled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mindloom import Plugin, TrainingError, UserError, hookimpl
from mindloom.schema import setting

if TYPE_CHECKING:
    from mindloom.precision import Precision

PARAM, AMP = "param", "amp"
KEEP = "plugins.fp16.keep_float32"


class Fp16(Plugin):
    """Half precision: float16 parameters, or float32 masters computed in float16, with loss scaling."""

    ranks = "all"  # every process stops when too many steps were skipped

    @dataclass
    class Config:
        mode: str = setting("param", "param stores float16 weights (as --param_fp16); amp keeps float32 masters")
        keep_float32: list[str] = setting([], "patterns of further parameter names that stay float32")
        loss_scale: float = setting(1024.0, "factor of the loss, the first one when dynamic")
        dynamic: bool = setting(True, "halve the factor at an overflow, double it after patience good steps")
        patience: int = setting(2000, "good steps before the factor doubles")
        max_skipped: int = setting(20, "steps skipped in a row before the run stops")

    @hookimpl
    def on_configure(self) -> None:
        """Refuse values that cannot work."""
        cfg = self.cfg
        if cfg.mode not in (PARAM, AMP):
            raise UserError(f"fp16 mode must be param or amp, not {cfg.mode!r}", setting="plugins.fp16.mode")
        for key, low in (("loss_scale", 1), ("patience", 1), ("max_skipped", 1)):
            if cfg[key] < low:
                raise UserError(f"fp16 {key} must be at least {low}, not {cfg[key]:g}", setting=f"plugins.fp16.{key}")
        for pattern in cfg.keep_float32:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f"fp16 keep_float32: {pattern!r} is not a regular expression: {error}", setting=KEEP
                ) from None

    @hookimpl
    def make_precision(self, run: Any) -> Precision:
        """Say what becomes float16, and show it."""
        from mindloom.precision import LossScale, Precision

        refuse_half(run.task.model)
        keep = tuple(self.cfg.keep_float32)
        refuse_idle(keep, [name for name, _ in run.task.model.parameters_and_names()])
        run.log.info(
            "float32 is kept where a name matches: %s", "  ".join([*run.task.keep_float32, *keep]) or "nothing"
        )
        if self.cfg.mode == PARAM:
            run.log.warning(
                "float16 parameters are not recommended: training may become unstable; plugins.fp16.mode=amp is safer"
            )
        scale = LossScale(self.cfg.loss_scale, self.cfg.dynamic, self.cfg.patience)
        return Precision("float16" if self.cfg.mode == PARAM else "float32", "float16", keep, scale)

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Refuse a learning rate whose steps are lost in rounding."""
        from .rounding import check_steps

        if self.cfg.mode == PARAM:
            check_steps(run.task.model.trainable_params(), float(run.cfg.optim.lr), run.log)

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        """Stop when nothing has been learned for too long."""
        skipped = record.get("skipped_in_a_row", 0)
        if skipped and skipped >= self.cfg.max_skipped:
            raise TrainingError(
                f"{skipped:.0f} steps in a row overflowed float16 (loss scale {record['loss_scale']:g} at step "
                f"{run.step}): lower optim.lr, set plugins.fp16.mode=amp, or train without fp16"
            )


def refuse_half(model: Any) -> None:
    """The task's weights must be float32 before they are lowered: casting twice would hide what was lost.

    Raises:
        UserError: a trainable parameter is float16 already.
    """
    for param in model.trainable_params():
        if "float16" in str(param.dtype).lower():
            raise UserError(
                f"the weights are float16 already ({param.name}), so there is nothing for fp16 to lower: "
                "switch it off with --plugins no:fp16"
            )


def refuse_idle(patterns: Sequence[str], names: Sequence[str]) -> None:
    """A pattern that matches nothing is a typing error: what it was meant to keep would be lowered in silence.

    Raises:
        UserError: there is one.
    """
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise UserError(f"fp16 keep_float32: no parameter's name matches {pattern!r}", setting=KEEP)
