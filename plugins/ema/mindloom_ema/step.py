"""A training step that ends with an update of the averaged parameters."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, ParameterTuple, nn
from mindspore import ops as P
from mindspore.common.initializer import initializer

PREFIX = "ema"
SKIPPED = "skipped_in_a_row"
"""Output of a step that may skip its update: 0 when it did not."""

averaged = P.MultitypeFuncGraph("averaged")
followed = P.MultitypeFuncGraph("followed")
_subtract, _assign = P.AssignSub(), P.Assign()


@averaged.register("Tensor", "Tensor", "Tensor")
def _averaged(rate: ms.Tensor, average: ms.Tensor, param: ms.Tensor) -> ms.Tensor:
    return _subtract(average, (average - param.astype(ms.float32)) * rate)


@followed.register("Tensor", "Tensor")
def _followed(average: ms.Tensor, param: ms.Tensor) -> ms.Tensor:
    return _assign(average, param.astype(ms.float32))


class AveragedStep(nn.Cell):
    """``construct(lr, *columns)`` -> what ``step`` returns, after θ' -= (1 - d)·(θ' - θ) for every trained θ.

    With warm-up d = min(decay, (1 + n) / (10 + n)), n = 1 at the first update (``LitEma`` of Stability AI's
    generative-models; ``EMAModel`` of diffusers, which only copies in the first step, is this with start=1). A step
    that was skipped because it overflowed updates nothing.

    Args:
        step: has ``outputs``, the names of what it returns.
        params: what is averaged, of any dtype; the copies are float32.
        decay: d; an average looks back over about 1 / (1 - d) updates.
        warmup: whether d grows.
        every: steps from one update to the next.
        start: until this step, inclusive, the copies follow the parameters exactly, and n stays 0.
    """

    def __init__(
        self, step: nn.Cell, params: Sequence[Parameter], decay: float, warmup: bool, every: int, start: int
    ) -> None:
        super().__init__(auto_prefix=False)  # the parameters' names are those on disk
        self.step, self.outputs = step, step.outputs
        self.params = ParameterTuple(params)
        self.copies = ParameterTuple(
            Parameter(initializer("zeros", param.shape, ms.float32), name=f"{PREFIX}.{param.name}", requires_grad=False)
            for param in params
        )
        self.updates = Parameter(ms.Tensor(0.0, ms.float32), name=f"{PREFIX}_updates", requires_grad=False)
        self.steps = Parameter(ms.Tensor(0.0, ms.float32), name=f"{PREFIX}_steps", requires_grad=False)
        # 1 - decay in float32 would lose three of its digits; and 1 - (1 + n) / (10 + n) is 9 / (10 + n).
        self.rate, self.warmup = ms.Tensor(1.0 - decay, ms.float32), warmup
        self.every, self.start = every, start
        self.skipped = self.outputs.index(SKIPPED) if SKIPPED in self.outputs else -1
        self.each, self.partial = P.HyperMap(), P.Partial()
        self.assign, self.maximum, self.remainder = P.Assign(), P.Maximum(), P.FloorMod()
        self.both = P.LogicalAnd()

    def average(self) -> None:
        updates = self.updates + 1.0
        self.assign(self.updates, updates)
        rate = self.rate
        if self.warmup:
            rate = self.maximum(rate, 9.0 / (updates + 10.0))
        self.each(self.partial(averaged, rate), self.copies, self.params)

    def due(self, steps: ms.Tensor, outputs: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """Whether this step updates the average, a bool scalar."""
        due = self.remainder(steps, float(self.every)) == 0.0
        if self.skipped >= 0:
            due = self.both(due, outputs[self.skipped] == 0.0)
        return due

    def construct(self, lr: ms.Tensor, *columns: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = self.step(lr, *columns)
        steps = self.steps + 1.0
        self.assign(self.steps, steps)
        # Whatever is certain when the graph is built costs no branch in it.
        if self.start > 0:
            if steps <= self.start:
                self.each(followed, self.copies, self.params)
            elif self.due(steps - self.start, outputs):
                self.average()
        elif self.every > 1 or self.skipped >= 0:
            if self.due(steps, outputs):
                self.average()
        else:
            self.average()
        return outputs
