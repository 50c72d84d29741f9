"""Blocks are computed twice, nothing else changes: losses and weights keep their bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import Plugin, UserError, cells, hookimpl
from mindloom.testing import Fitted, fit
from mindloom.testing.tokens import tokens
from mindloom_recompute import Recompute
from mindspore import Parameter, nn
from mindspore import ops as P

TOKENS, WIDTH, LAYERS = 12, 20, 4


class Block(nn.Cell):
    """A residual layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        values = np.random.default_rng(seed).standard_normal((WIDTH, WIDTH)) / 4
        self.weight = Parameter(ms.Tensor(values.astype(np.float32)))
        self.norm, self.gelu = cells.LayerNorm(WIDTH), cells.GELU()
        self.matmul, self.reshape = P.MatMul(), P.Reshape()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        mixed = self.matmul(self.reshape(self.norm(x), (-1, WIDTH)), self.weight)
        return x + self.reshape(self.gelu(mixed), x.shape)


class Model(nn.Cell):
    """Some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.CellList([Block(seed) for seed in range(LAYERS)])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


Plain = tokens(Model, TOKENS, WIDTH)


class Layered(Plain):  # type: ignore[misc, valid-type]
    """The same task, which names its blocks."""

    @hookimpl
    def make_task(self) -> Any:
        """Name them."""
        task = super().make_task()
        task.blocks = lambda: list(task.model.layers)
        return task


Done = tuple[Fitted, int]


def train(folder: Path, task: type[Plugin], plugins: Sequence[type[Plugin]] = (), **settings: Any) -> Done:
    """Train, and count the layer norms in the graphs that ran, those of the gradient not among them."""
    ms.set_context(save_graphs=1, save_graphs_path=str(folder / "graphs"))
    try:
        done = fit(folder, plugins, steps=3, task=task, **settings)
    finally:
        ms.set_context(save_graphs=0)
    graphs = [graph.read_text() for graph in folder.rglob("hwopt_common_final_graph_*.ir")]
    return done, sum(len(re.findall(r"\bPrimFunc_LayerNorm\(%", graph)) for graph in graphs)


@pytest.fixture(autouse=True, scope="module")
def _one_graph() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MS_DEV_DUMP_IR_PASSES", "hwopt_common_final_graph")  # instead of two hundred
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Training without the plugin."""
    return train(tmp_path_factory.mktemp("kept"), Layered)


def test_all_blocks_are_computed_twice_and_nothing_else_changes(tmp_path: Path, kept: Done) -> None:
    again, norms = train(tmp_path, Layered, [Recompute])
    assert (kept[1], norms) == (LAYERS, 2 * LAYERS)
    assert again.losses == kept[0].losses
    for name, weight in kept[0].weights.items():
        np.testing.assert_array_equal(again.weights[name], weight, err_msg=name)


def test_every_second_block(tmp_path: Path, kept: Done) -> None:
    again, norms = train(tmp_path, Layered, [Recompute], recompute={"every": 2})
    assert norms == LAYERS + LAYERS // 2
    assert again.losses == kept[0].losses


LOOPED = {"gradient_accumulation_steps": 2}


def test_in_the_loop_over_micro_batches(tmp_path: Path) -> None:
    """In a process of its own: MindSpore reads the setting that it takes for this once, at the first graph."""
    once, _ = train(tmp_path / "kept", Layered, **LOOPED)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout.splitlines()[-1]) == [2 * LAYERS, once.losses]


def test_a_task_without_blocks_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, norms = train(tmp_path, Plain, [Recompute])
    assert norms == LAYERS
    assert "the task names no blocks" in caplog.text


def test_less_than_every_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 is less than 1"):
        fit(tmp_path, [Recompute], recompute={"every": 0})


if __name__ == "__main__":
    again, counted = train(Path(sys.argv[1]) / "again", Layered, [Recompute], **LOOPED)
    print(json.dumps([counted, again.losses]))
