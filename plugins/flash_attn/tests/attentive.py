"""A task with attention for the tests of this plugin: random tokens, mixed by one layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom import Plugin, hookimpl
from mindloom.attention import Attention
from mindloom.task import Draw, Sample, Task
from mindspore import Parameter, nn
from mindspore import ops as P

TOKENS, HEADS, WIDTH = 20, 2, 32


class Model(nn.Cell):
    """Self-attention over ``[batch, TOKENS, WIDTH]`` with trained projections."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.weight = Parameter(ms.Tensor((rng.standard_normal((WIDTH, 3 * WIDTH)) / 4).astype(np.float32)))
        self.attention = Attention(HEADS, WIDTH // HEADS)
        self.matmul, self.split, self.reshape = P.MatMul(), P.Split(2, 3), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = self.matmul(self.reshape(x, (-1, WIDTH)), self.weight)
        q, k, v = self.split(self.reshape(mixed, (-1, TOKENS, 3 * WIDTH)))
        return self.attention(q, k, v)


class Loss(nn.Cell):
    """Mean squared error against the tokens in reverse order."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__()
        self.model, self.mean, self.reverse = model, P.ReduceMean(), P.ReverseV2([1])

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        error = self.model(tokens) - self.reverse(tokens)
        return self.mean(error * error)


class AttentionTask(Task):
    """Random tokens."""

    columns = ("tokens",)

    def __init__(self) -> None:
        self.model = Model()
        self.loss = Loss(self.model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        return {"tokens": draw("tokens").standard_normal((TOKENS, WIDTH), np.float32)}

    def load_weights(self, path: Path) -> None:
        raise NotImplementedError


class Attentive(Plugin):
    """Offers samples and a task, in the place of the kit's toy."""

    @hookimpl
    def make_task(self) -> Task:
        """A fresh task."""
        return AttentionTask()

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Only numbers."""
        from mindloom.testing import Numbers

        return {"numbers": lambda path, world: Numbers(12)}
