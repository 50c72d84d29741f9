"""A task of random tokens for tests of swaps: the model, with the cells to be claimed, comes from the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P

from ..plugin import Plugin, hookimpl
from ..task import Draw, Sample, Task
from .toy import Numbers, load_npz


class Loss(nn.Cell):
    """Mean squared error against the tokens in reverse order."""

    def __init__(self, model: nn.Cell) -> None:
        super().__init__()
        self.model, self.mean, self.reverse = model, P.ReduceMean(), P.ReverseV2([1])

    def construct(self, tokens: ms.Tensor) -> ms.Tensor:
        error = self.model(tokens) - self.reverse(tokens)
        return self.mean(error * error)


class TokensTask(Task):
    """Random tokens ``[batch, tokens, width]``, mixed by a model that keeps their shape."""

    columns = ("tokens",)

    def __init__(self, model: nn.Cell, tokens: int, width: int) -> None:
        self.model, self.shape = model, (tokens, width)
        self.loss = Loss(model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        return {"tokens": draw("tokens").standard_normal(self.shape, np.float32)}

    def load_weights(self, path: Path) -> None:
        load_npz(self.model, path)


def tokens(model: Callable[[], nn.Cell], count: int, width: int) -> type[Plugin]:
    """A plugin with the task of such a model and with samples, in the place of the kit's toy."""

    class Tokens(Plugin):
        """Random tokens, mixed by the model under test."""

        @hookimpl
        def make_task(self) -> Task:
            """A fresh task."""
            return TokensTask(model(), count, width)

        @hookimpl
        def add_formats(self) -> dict[str, Any]:
            """Only numbers."""
            return {"numbers": lambda path, world: Numbers(12)}

    return Tokens
