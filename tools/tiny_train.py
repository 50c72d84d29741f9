"""The training loop that both stages of make_tiny share: cosine schedule, Adam, averaged weights, progress with ETA."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

Batch = Sequence[np.ndarray]


def cosine_rates(peak: float, steps: int, warmup: int) -> list[float]:
    """One learning rate per step: linear up to `peak`, then half a cosine down to 2 % of it."""
    rates = []
    for step in range(steps):
        rise = min(1.0, (step + 1) / max(1, warmup))
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))
        rates.append(peak * rise * (0.02 + 0.98 * fall))
    return rates


class Step(nn.Cell):
    """Loss, gradients and Adam in one graph; a call is one update and returns the loss before it."""

    def __init__(self, loss: nn.Cell, rates: list[float]) -> None:
        super().__init__(auto_prefix=False)
        weights = ms.ParameterTuple(loss.trainable_params())
        self.optimizer = nn.Adam(weights, learning_rate=rates, beta2=0.99)
        self.loss_and_grads = ms.value_and_grad(loss, None, weights)

    def construct(self, *inputs: ms.Tensor) -> ms.Tensor:
        loss, grads = self.loss_and_grads(*inputs)
        self.optimizer(grads)
        return loss


class Average:
    """Exponential moving average of a cell's trainable weights, kept on the host and updated every `every` steps."""

    def __init__(self, cell: nn.Cell, decay: float = 0.95, every: int = 10) -> None:
        self.parameters = list(cell.trainable_params())
        self.decay, self.every, self.updates = decay, every, 0
        self.values = [parameter.asnumpy().copy() for parameter in self.parameters]

    def update(self, step: int) -> None:
        if (step + 1) % self.every:
            return
        # The first updates must forget the random start: d = min(decay, (1 + n) / (10 + n)), as in sgm's LitEma.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for value, parameter in zip(self.values, self.parameters, strict=True):
            value *= decay
            value += (1 - decay) * parameter.asnumpy()

    def apply(self) -> None:
        """Put the averages in place of the weights (none yet: leave the weights alone)."""
        if self.updates:
            for value, parameter in zip(self.values, self.parameters, strict=True):
                parameter.set_data(ms.Tensor(value))


def fit(
    name: str,
    loss: nn.Cell,
    batch: Callable[[int], Batch],
    steps: int,
    peak: float,
    average: Average | None = None,
    warmup: int = 200,
) -> float:
    """Train `loss` for `steps` batches; returns the mean loss of the last tenth. The first call compiles."""
    step_cell = Step(loss, cosine_rates(peak, steps, min(warmup, steps // 10)))
    step_cell.set_train()
    losses: list[float] = []
    report = max(1, min(200, steps // 20))
    began = time.perf_counter()
    warm = began
    for step in range(steps):
        losses.append(float(step_cell(*(ms.Tensor(column) for column in batch(step))).asnumpy()))
        if average is not None:
            average.update(step)
        if step == 0:
            warm = time.perf_counter()
            print(f"{name}: compiled in {warm - began:.0f} s, first loss {losses[0]:.4f}", flush=True)
        elif (step + 1) % report == 0:
            each = (time.perf_counter() - warm) / step
            left = each * (steps - step - 1) / 60
            recent = sum(losses[-report:]) / report
            progress = f"{name} {step + 1}/{steps}: loss {recent:.4f}, {1000 * each:.0f} ms a step"
            print(f"{progress}, {left:.1f} min left", flush=True)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)
