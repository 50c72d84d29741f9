"""One optimizer step as a compiled cell: forward, gradients, accumulation, reduction, gradient operations, update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mindspore as ms
from mindspore import Parameter, ParameterTuple, nn
from mindspore import ops as P

from .ending import ending
from .optim import GlobalNorm, zeros_like

if TYPE_CHECKING:
    from .data.pipeline import Dataset
    from .precision import LossScale
    from .run import Run

ACCUMULATED = "accumulated"
"""Prefix of the parameters that hold summed gradients: empty between steps, so never saved."""


clear = P.MultitypeFuncGraph("clear")
add_to = P.MultitypeFuncGraph("add_to")
divided = P.MultitypeFuncGraph("divided")
_assign, _assign_add, _zeros_like = P.Assign(), P.AssignAdd(), P.ZerosLike()


@clear.register("Tensor")
def _clear(total: ms.Tensor) -> ms.Tensor:
    return _assign(total, _zeros_like(total))


@add_to.register("Tensor", "Tensor")
def _add_to(total: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return _assign_add(total, gradient.astype(total.dtype))


@divided.register("Number", "Tensor")
def _divided(count: int, total: ms.Tensor) -> ms.Tensor:
    return total / count


@dataclass(frozen=True)
class StepParts:
    """What a step is made of.

    Attributes:
        loss: ``construct(*columns)`` -> scalar.
        params: the trainable parameters.
        optimizer: ``construct(lr, gradients)``.
        reducer: tensors -> tensors averaged over processes (the gradients, and the loss at last), or None.
        grad_ops: gradients -> gradients, in order, after the reduction.
        accumulate: forward passes in one step.
        scale: how the loss is scaled, or None.
    """

    loss: nn.Cell
    params: Sequence[Parameter]
    optimizer: nn.Cell
    reducer: nn.Cell | None = None
    grad_ops: Sequence[nn.Cell] = field(default_factory=tuple)
    accumulate: int = 1
    scale: LossScale | None = None


@dataclass(frozen=True)
class StepResult:
    """What one dispatch brought.

    Attributes:
        n: steps in it.
        lr: learning rate of its last step.
        outputs: name -> what the step returned, of the last step, still on the device.
    """

    n: int
    lr: float
    outputs: Mapping[str, ms.Tensor]

    @property
    def loss(self) -> ms.Tensor:
        """Mean loss over the last step's samples of this process; reading it waits for the device."""
        return self.outputs["loss"]


class TrainStep(nn.Cell):
    """``construct(lr, *columns) -> (loss, grad_norm)``, both float32 scalars; grad_norm is taken before clipping.

    With accumulation the columns have a leading axis of micro-batches and a loop inside the graph walks over it: the
    gradient is compiled once, gradients are reduced and applied once, and the rest of the trainer need not know.
    """

    outputs: tuple[str, ...] = ("loss", "grad_norm")

    def __init__(self, parts: StepParts) -> None:
        super().__init__(auto_prefix=False)  # the parameters' names are those on disk
        self.params = ParameterTuple(parts.params)
        self.loss, self.optimizer, self.norm = parts.loss, parts.optimizer, GlobalNorm()
        self.loss_and_gradients = ms.value_and_grad(self.objective(), None, weights=self.params)
        self.reducer = parts.reducer
        self.grad_ops = nn.CellList(list(parts.grad_ops))
        self.accumulate = parts.accumulate
        self.each, self.partial = P.HyperMap(), P.Partial()
        if self.accumulate > 1:
            self.sums = zeros_like(parts.params, ACCUMULATED)

    def objective(self) -> nn.Cell:
        """What is differentiated."""
        return self.loss

    def accumulated(
        self, before: tuple[ms.Tensor, ...], columns: tuple[ms.Tensor, ...]
    ) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
        self.each(clear, self.sums)
        loss_sum, micro = ms.Tensor(0.0, ms.float32), ms.Tensor(0, ms.int32)
        while micro < self.accumulate:
            rows = before
            for column in columns:
                rows = (*rows, column[micro])
            loss, gradients = self.loss_and_gradients(*rows)
            self.each(add_to, self.sums, gradients)
            loss_sum = loss_sum + loss
            micro = micro + 1
        means = self.each(self.partial(divided, self.accumulate), self.sums)
        return loss_sum / self.accumulate, means

    def gradients(
        self, before: tuple[ms.Tensor, ...], columns: tuple[ms.Tensor, ...]
    ) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
        """Mean loss and gradients over micro-batches and processes; ``before`` goes in front of the rows of each."""
        if self.accumulate > 1:
            loss, gradients = self.accumulated(before, columns)
        else:
            loss, gradients = self.loss_and_gradients(*before, *columns)
        if self.reducer is not None:
            reduced = self.reducer((*gradients, loss))
            loss, gradients = reduced[-1], reduced[:-1]
        return loss, gradients

    def update(self, lr: ms.Tensor, gradients: tuple[ms.Tensor, ...]) -> None:
        for operation in self.grad_ops:
            gradients = operation(gradients)
        self.optimizer(lr, gradients)

    def construct(self, lr: ms.Tensor, *columns: ms.Tensor) -> tuple[ms.Tensor, ...]:
        loss, gradients = self.gradients((), columns)
        norm = self.norm(gradients)
        self.update(lr, gradients)
        return loss, norm


def step_by_step(run: Run, step: nn.Cell, dataset: Dataset) -> Iterator[StepResult]:
    """The core's stepper: one dispatch for each step."""
    with ending(dataset.batches(run.step, run.last_step)) as batches:
        for batch in batches:
            run.announce_frame(dataset.frame(batch.step))
            lr = run.schedule(batch.step)
            outputs = step(ms.Tensor(lr, ms.float32), *(ms.Tensor(column) for column in batch.columns))
            yield StepResult(1, lr, dict(zip(step.outputs, outputs, strict=True)))
