"""A task with one layer of attention, which an attention plugin replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.attention import Attention
from mindloom.task import Draw, Sample, Task
from mindloom.testing.toy import Numbers
from mindspore import Parameter, nn
from mindspore import ops as P


class Model(nn.Cell):
    """Tokens ``[batch, 20, 32]``, scaled, attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(ms.Tensor(np.ones((1, 1, 32), np.float32)))
        self.attention = Attention(2, 16)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = x * self.weight
        return self.attention(mixed, mixed, mixed)


class Loss(nn.Cell):
    """Mean squared error against the tokens themselves."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__()
        self.model, self.mean = model, P.ReduceMean()

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        error = self.model(tokens) - tokens
        return self.mean(error * error)


class Mixed(Task):
    """Random tokens."""

    columns = ("tokens",)

    def __init__(self) -> None:
        self.model = Model()
        self.loss = Loss(self.model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        return {"tokens": draw("tokens").standard_normal((20, 32), np.float32)}

    def load_weights(self, path: Path) -> None:
        raise NotImplementedError


class Attentive(Plugin):
    """The task and its samples."""

    @hookimpl
    def make_task(self) -> Task:
        """The task."""
        return Mixed()

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Twelve samples out of thin air."""
        return {"numbers": lambda path, world: Numbers(12)}
