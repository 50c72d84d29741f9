"""A kit for tests of plugins: a toy task that trains in a second, and ``fit`` to run it with the plugins under test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .checkpoint import Checkpointer, Snapshot
from .errors import UserError
from .layers import Layers
from .plugin import Plugin, hookimpl
from .schema import setting
from .session import configure, execute
from .task import Draw, Sample, Task
from .world import World


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

    @hookimpl
    def make_task(self) -> Task:
        """The toy task."""
        return ToyTask(self.cfg.width)

    @hookimpl
    def add_formats(self) -> dict[str, Any]:
        """Samples out of thin air; ``data.path`` only has to exist."""

        def numbers(path: Path, world: World) -> Numbers:
            return Numbers(self.cfg.samples)

        return {"numbers": numbers}


class ToyTask(Task):
    """Learn y = sum(x) from noisy samples; every row depends on its sample and its position's noise."""

    columns = ("inputs", "targets")

    def __init__(self, width: int) -> None:
        import mindspore as ms
        from mindspore import Parameter, nn
        from mindspore import ops as P

        class Linear(nn.Cell):
            """weight [1, width], bias [1]; and a frozen number that must stay as it is."""

            def __init__(self) -> None:
                super().__init__()
                self.weight = Parameter(ms.Tensor(np.zeros((1, width), np.float32)))
                self.bias = Parameter(ms.Tensor(np.zeros(1, np.float32)))
                self.frozen = Parameter(ms.Tensor(np.ones(1, np.float32)), requires_grad=False)
                self.matmul = P.MatMul(transpose_b=True)

            def construct(self, x: ms.Tensor) -> ms.Tensor:
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
        import mindspore as ms

        values = np.load(path, allow_pickle=False)
        for name, param in self.model.parameters_and_names():
            param.set_data(ms.Tensor(values[name]))


class Shelf(Plugin):
    """Keeps checkpoints in memory for as long as the process lives, so that a plugin's tests can resume."""

    kept: ClassVar[dict[Path, Snapshot]] = {}

    @hookimpl
    def make_checkpointer(self) -> Checkpointer:
        """This plugin itself."""
        return self

    def save(self, snapshot: Snapshot, run_folder: Path) -> Path:
        path = run_folder / f"step-{snapshot.meta['step']:08d}"
        self.kept[path] = snapshot
        return path

    def find(self, what: str, root: Path) -> Path:
        path = self.latest(root) if what == "latest" else Path(what)
        if path not in self.kept:
            raise UserError(f"no checkpoint {what} below {root}", setting="resume")
        return path

    def latest(self, root: Path) -> Path | None:
        return max((path for path in self.kept if path.parent == root), default=None)

    def load(self, path: Path) -> Snapshot:
        return self.kept[path]

    def run_folder(self, path: Path) -> Path:
        return path.parent


class Recorder(Plugin):
    """Keeps every record and the weights at the end."""

    ranks = "all"

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.records: list[dict[str, float]] = []
        self.weights: dict[str, np.ndarray] = {}
        self.run: Any = None

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        """Keep the record."""
        self.records.append(dict(record))

    @hookimpl
    def on_train_end(self, run: Any) -> None:
        """Keep the weights."""
        self.run = run
        self.weights = {name: p.asnumpy().copy() for name, p in run.task.model.parameters_and_names()}

    @property
    def losses(self) -> list[float]:
        """The loss of every logged step."""
        return [record["loss"] for record in self.records if "loss" in record]


@dataclass
class Fitted:
    """What a run left behind."""

    exit_code: int
    losses: list[float]
    weights: dict[str, np.ndarray]
    records: list[dict[str, float]]
    path: Path
    plugins: dict[str, Plugin] = field(default_factory=dict)


def fit(
    folder: Path, plugins: Mapping[str, type[Plugin]] | Sequence[type[Plugin]] = (), /, steps: int = 4, **settings: Any
) -> Fitted:
    """Train the toy task, in this process, and return what came out.

    Args:
        folder: where the run folder ``run`` is made; also the (empty) data folder.
        plugins: classes under test, by name or named by their class.
        steps: ``max_steps``.
        settings: further settings, nested; ``plugins={"name": {...}}`` for those of plugins.

    Raises:
        UserError, TrainingError: as a run does.
    """
    named = dict(plugins) if isinstance(plugins, Mapping) else {found.__name__.lower(): found for found in plugins}
    classes: dict[str, type[Plugin]] = {"toy": Toy, **named, "recorder": Recorder}
    layers = Layers()
    layers.set(
        {
            "max_steps": steps,
            "per_batch_size": 2,
            "log_interval": 1,
            "save_path": str(folder / "run"),
            "save_path_with_time": False,
            "data": {"path": str(folder)},
            "optim": {"lr": 0.01},
        },
        "fit",
    )
    layers.set(settings, "test")
    logging.getLogger("mindloom").setLevel(logging.INFO)
    cfg, registry = configure(layers, classes)
    code = execute(cfg, registry)
    recorder = registry.plugins["recorder"]
    assert isinstance(recorder, Recorder)
    return Fitted(code, recorder.losses, recorder.weights, recorder.records, recorder.run.path, registry.plugins)
