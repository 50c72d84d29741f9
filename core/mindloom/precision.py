"""Which dtype the parameters have. A plugin only says so; casting is done here, in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

import mindspore as ms
from mindspore import nn


@dataclass(frozen=True)
class Precision:
    """The dtypes of a run.

    Attributes:
        param_dtype: ``"float32"`` or ``"float16"``, of trainable parameters and so of their gradients.
        keep_float32: regular expressions; a parameter whose name one of them matches stays float32.
    """

    param_dtype: str = "float32"
    keep_float32: tuple[str, ...] = ()

    def dtype_of(self, name: str) -> str:
        """The dtype of the trainable parameter with this name."""
        kept = any(re.search(pattern, name) for pattern in self.keep_float32)
        return "float32" if kept else self.param_dtype


def cast(model: nn.Cell, precision: Precision) -> int:
    """Cast the trainable parameters; frozen ones keep the dtype that the task gave them. Return how many changed."""
    changed = 0
    for param in model.trainable_params():
        dtype = getattr(ms, precision.dtype_of(param.name))
        if param.dtype != dtype:
            param.set_dtype(dtype)
            changed += 1
    return changed
