"""Which dtypes a run stores and computes in, and how its loss is scaled. A plugin says so; the core does it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import mindspore as ms
from mindspore import nn


@dataclass(frozen=True)
class LossScale:
    """How the loss is scaled so that float16 gradients do not vanish (Micikevicius et al. 2018, section 3.2).

    A step whose gradients overflow is skipped.

    Attributes:
        initial: the factor at the start.
        dynamic: halve the factor at each overflow and double it after ``patience`` good steps; otherwise it stays.
    """

    initial: float
    dynamic: bool = True
    patience: int = 2000


@dataclass(frozen=True)
class Precision:
    """The dtypes of a run.

    Attributes:
        param_dtype: ``"float32"`` or ``"float16"``, of the parameters as they are stored.
        compute_dtype: likewise, of cells that own parameters; their inputs and weights are cast to it.
        keep_float32: regular expressions; a parameter whose name one of them matches is stored and used as float32.
        scale: None leaves the loss as it is.
    """

    param_dtype: str = "float32"
    compute_dtype: str = "float32"
    keep_float32: tuple[str, ...] = ()
    scale: LossScale | None = None

    def keeps(self, name: str) -> bool:
        """Whether this parameter stays float32."""
        return any(re.search(pattern, name) for pattern in self.keep_float32)


def apply(model: nn.Cell, precision: Precision) -> int:
    """Cast parameters and set what cells compute in; return how many parameters that lowered.

    Frozen parameters follow like trained ones: text encoders in float16 are half as large.
    """
    changed = 0
    for name, cell in model.cells_and_names():
        own = {f"{name}.{key}" if name else key: param for key, param in cell._params.items() if param is not None}
        lowered = {key: param for key, param in own.items() if not precision.keeps(key)}
        if not own or (precision.param_dtype == precision.compute_dtype == "float32"):
            continue
        for param in lowered.values():
            param.set_dtype(getattr(ms, precision.param_dtype))
        cell.to_float(getattr(ms, precision.compute_dtype if lowered else "float32"))
        changed += len(lowered)
    return changed
