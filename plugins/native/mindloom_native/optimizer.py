"""AdamW and the norm of all gradients, each as one node of the graph, however many parameters there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindloom.optim import AdamW, ClipByGlobalNorm
from mindloom.step import TrainStep
from mindspore import Parameter, nn
from mindspore import ops as P
from mindspore.ops import signature

from .operators import first, settings

Shape = tuple[int, ...]


def _scalar(*inputs: Shape) -> Shape:
    return (1,)


def writing(library: Path, count: int) -> P.Custom:
    """The operator of the entry ``adamw``, which writes into its inputs.

    MindSpore orders an operator with ``side_effect_mem`` against all reads and writes of the parameters that its
    signature says it writes, hands it their own memory, and keeps it although nobody reads its output.
    """
    operator = P.Custom(f"{library}:adamw", _scalar, first, "aot")
    operator.add_prim_attr("side_effect_mem", True)

    def inputs(names: Sequence[str], write: bool = False) -> list[signature.Signature]:
        how = signature.sig_rw.RW_WRITE if write else signature.sig_rw.RW_READ
        return [signature.make_sig(name, how, dtype=signature.sig_dtype.T) for name in names]

    each = [f"{kind}{i}" for kind in ("param", "exp_avg", "exp_avg_sq") for i in range(count)]
    operator.set_signatures(
        [
            *inputs(["lr"]),
            *inputs(["steps"], write=True),
            *inputs(["settings", "decays", "norm"]),
            *inputs(each, write=True),
            *inputs([f"gradient{i}" for i in range(count)]),
        ]
    )
    return operator


class NativeNorm(nn.Cell):
    """:class:`mindloom.optim.GlobalNorm` of float32 gradients in one node, summed in float64."""

    def __init__(self, library: Path) -> None:
        super().__init__()
        self.operator, self.settings = P.Custom(f"{library}:global_norm", _scalar, first, "aot"), settings()
        self.reshape = P.Reshape()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        return self.reshape(self.operator(self.settings, *gradients), ())


class NativeAdamW(nn.Cell):
    """:class:`mindloom.optim.AdamW` in one node, with the same state under the same names, and with clipping.

    Where there is a ``limit``, gradients are scaled by min(1, limit / (norm + 1e-6)) as they are read, as
    :class:`mindloom.optim.ClipByGlobalNorm` does it.
    """

    def __init__(self, plain: AdamW, library: Path) -> None:
        super().__init__()
        self.params, self.exp_avg, self.exp_avg_sq = plain.params, plain.exp_avg, plain.exp_avg_sq
        self.steps = plain.steps
        self.norm, self.limit = NativeNorm(library), 0.0
        self.constants = (*(float(beta.asnumpy()) for beta in (plain.beta1, plain.beta2)), plain.eps)
        self.settings = settings(*self.constants, self.limit)
        self.decays = ms.Tensor(np.array(plain.decays, np.float32))
        self.zero = ms.Tensor(0.0, ms.float32)
        self.operator = writing(library, len(plain.params))

    def clip(self, limit: float) -> None:
        """Scale gradients down to this norm."""
        self.limit = limit
        self.settings = settings(*self.constants, limit)

    def construct(self, lr: ms.Tensor, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        norm = self.norm(gradients) if self.limit else self.zero
        state = (*self.params, *self.exp_avg, *self.exp_avg_sq)
        return self.operator(lr, self.steps, self.settings, self.decays, norm, *state, *gradients)


def limits(params: Sequence[Parameter]) -> str:
    """Why the update of these parameters has to stay plain, or nothing."""
    others = sum(param.dtype != ms.float32 for param in params)
    return f"{others} of {len(params)} parameters are not float32" if others else ""


def fuse(step: nn.Cell) -> None:
    """Let the update do the clipping that comes right before it, and give the step a norm in one node."""
    for _, cell in step.cells_and_names():
        if isinstance(cell, TrainStep) and isinstance(cell.optimizer, NativeAdamW):
            cell.norm = cell.optimizer.norm
            operations = list(cell.grad_ops)
            if operations and type(operations[-1]) is ClipByGlobalNorm:
                cell.optimizer.clip(operations.pop().limit)
                cell.grad_ops = nn.CellList(operations)
