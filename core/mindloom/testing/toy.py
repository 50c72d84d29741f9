"""A task that compiles and trains in about a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..plugin import Plugin, hookimpl
from ..schema import setting
from ..task import Draw, Sample, Task
from ..world import World


class Numbers:
    """A source of ``count`` samples, each only an id: enough for a task that draws its own columns."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": f"sample-{index}", "number": index}


class Toy(Plugin):
    """A linear model on made-up data: a task that compiles and trains in about a second."""

    @dataclass
    class Config:
        samples: int = setting(12, "samples in an epoch")
        width: int = setting(4, "inputs of the linear model")
        hidden: int = setting(0, "Dense layers before it, for plugins that replace layers")

    @hookimpl
    def make_task(self) -> Task:
        """The toy task."""
        return ToyTask(self.cfg.width, self.cfg.hidden)

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Samples out of thin air; ``data.path`` only has to exist."""

        def numbers(path: str, world: World) -> Numbers:
            return Numbers(self.cfg.samples)

        return {"numbers": numbers}


class ToyTask(Task):
    """Learn y = sum(x) from noisy samples; every row depends on its sample and its position's noise."""

    columns = ("inputs", "targets")

    def __init__(self, width: int, hidden: int = 0) -> None:
        import mindspore as ms
        from mindspore import Parameter, nn
        from mindspore import ops as P

        def dense() -> nn.Cell:
            return nn.Dense(width, width, ms.Tensor(np.eye(width, dtype=np.float32)), "zeros")

        class Linear(nn.Cell):
            """weight [1, width], bias [1]; and a frozen number that must stay as it is."""

            def __init__(self) -> None:
                super().__init__()
                self.weight = Parameter(ms.Tensor(np.zeros((1, width), np.float32)))
                self.bias = Parameter(ms.Tensor(np.zeros(1, np.float32)))
                self.frozen = Parameter(ms.Tensor(np.ones(1, np.float32)), requires_grad=False)
                self.matmul = P.MatMul(transpose_b=True)
                self.layers = nn.SequentialCell([dense() for _ in range(hidden)]) if hidden else None

            def construct(self, x: ms.Tensor) -> ms.Tensor:
                if self.layers is not None:
                    x = self.layers(x)
                return self.matmul(x, self.weight) + self.bias * self.frozen

        class Loss(nn.Cell):
            """Mean squared error."""

            def __init__(self, model: nn.Cell) -> None:
                super().__init__()
                self.model, self.mean = model, P.ReduceMean()

            def construct(self, inputs: ms.Tensor, targets: ms.Tensor) -> ms.Tensor:
                error = self.model(inputs) - targets
                return self.mean(error * error)

        self.width = width
        self.model = Linear()
        self.loss = Loss(self.model)

    def transform(self, sample: Sample, draw: Draw) -> dict[str, np.ndarray]:
        inputs = draw("inputs").standard_normal(self.width, np.float32) + sample["number"] / 10
        return {"inputs": inputs.astype(np.float32), "targets": inputs.sum(keepdims=True).astype(np.float32)}

    def example(self) -> dict[str, np.ndarray]:
        return {"inputs": np.zeros(self.width, np.float32), "targets": np.zeros(1, np.float32)}

    def preview(self, prompts: Sequence[str], seed: int) -> list[np.ndarray]:
        """Grey squares of 16 x 16 pixels, the brighter the larger the first weight."""
        level = np.uint8(np.clip(float(self.model.weight.asnumpy()[0, 0]) * 255, 0, 255))
        return [np.full((16, 16, 3), level, np.uint8) for _ in prompts]

    def load_weights(self, path: Path) -> None:
        load_npz(self.model, path)


def load_npz(model: Any, path: Path) -> None:
    """Fill a cell's parameters from a NumPy file with their names."""
    import mindspore as ms

    values = np.load(path, allow_pickle=False)
    for name, param in model.parameters_and_names():
        param.set_data(ms.Tensor(values[name]))
