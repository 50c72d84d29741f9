"""The step with a scaled loss: small float16 gradients survive, and a step that overflows is skipped and counted."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn
from mindspore import ops as P

from .precision import LossScale
from .step import StepParts, TrainStep

unscaled = P.MultitypeFuncGraph("unscaled")


@unscaled.register("Tensor", "Tensor")
def _unscaled(factor: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    # In float32: dividing in float16 would lose what the scaling saved.
    return gradient.astype(ms.float32) * factor


class ScaledLoss(nn.Cell):
    """``construct(scale, *columns)`` -> scale times the loss."""

    def __init__(self, loss: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.loss = loss

    def construct(self, scale: ms.Tensor, *columns: ms.Tensor) -> ms.Tensor:
        return self.loss(*columns) * scale


def counter(value: float, name: str) -> Parameter:
    """A float32 scalar of the step's saved state."""
    return Parameter(ms.Tensor(value, ms.float32), name=name, requires_grad=False)


class ScaledStep(TrainStep):
    """``construct(lr, *columns)`` -> loss, grad_norm, loss_scale, skipped_in_a_row and skipped, float32 scalars.

    Overflow shows in the norm of the gradients, averaged over processes: all of them skip together.
    """

    outputs = ("loss", "grad_norm", "loss_scale", "skipped_in_a_row", "skipped")

    def __init__(self, parts: StepParts, how: LossScale) -> None:
        super().__init__(parts)
        self.how = how
        self.scale, self.good = counter(how.initial, "loss_scale"), counter(0, "loss_scale_good_steps")
        self.in_a_row, self.skipped = counter(0, "skipped_in_a_row"), counter(0, "skipped_steps")
        self.finite, self.select, self.assign, self.maximum = P.IsFinite(), P.Select(), P.Assign(), P.Maximum()
        self.zero, self.one = ms.Tensor(0.0, ms.float32), ms.Tensor(1.0, ms.float32)

    def objective(self) -> nn.Cell:
        return ScaledLoss(self.loss)

    def adjust(self, finite: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """Count, and move the scale."""
        good = self.select(finite, self.good + 1.0, self.zero)
        in_a_row = self.select(finite, self.zero, self.in_a_row + 1.0)
        skipped = self.skipped + self.select(finite, self.zero, self.one)
        scale = self.scale + 0.0
        if self.how.dynamic:
            grown = self.select(good >= self.how.patience, scale * 2.0, scale)
            scale = self.select(finite, grown, self.maximum(scale * 0.5, self.one))
            good = self.select(good >= self.how.patience, self.zero, good)
        self.assign(self.scale, scale)
        self.assign(self.good, good)
        self.assign(self.in_a_row, in_a_row)
        self.assign(self.skipped, skipped)
        return scale, in_a_row, skipped

    def construct(self, lr: ms.Tensor, *columns: ms.Tensor) -> tuple[ms.Tensor, ...]:
        scale = self.scale + 0.0
        loss, gradients = self.gradients((scale,), columns)
        gradients = self.each(self.partial(unscaled, 1.0 / scale), gradients)
        norm = self.norm(gradients)
        finite = self.finite(norm)
        if finite:
            self.update(lr, gradients)
        scale_now, in_a_row, skipped = self.adjust(finite)
        return loss / scale, norm, scale_now, in_a_row, skipped
