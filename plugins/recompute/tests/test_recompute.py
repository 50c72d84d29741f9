"""Blocks are computed twice, nothing else changes: losses and weights keep their bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
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
    """Train, and count the layer norms in the graphs that ran, for as many in the gradient as there are layers.

    MindSpore may compile, and dump, one graph twice.
    """
    ms.set_context(save_graphs=1, save_graphs_path=str(folder / "graphs"))
    try:
        done = fit(folder, plugins, steps=3, task=task, **settings)
    finally:
        ms.set_context(save_graphs=0)
    graphs = "".join(graph.read_text() for graph in folder.rglob("hwopt_common_final_graph_*.ir"))
    forward, backward = (len(re.findall(rf"\bPrimFunc_{name}\(%", graphs)) for name in ("LayerNorm", "LayerNormGrad"))
    return done, forward * LAYERS // max(1, backward)


LOOPED = {"gradient_accumulation_steps": 2}
CASES: dict[str, tuple[Sequence[type[Plugin]], dict[str, Any]]] = {
    "all": ([Recompute], {}),
    "half": ([Recompute], {"recompute": {"every": 2}}),
    "looped": ([Recompute], LOOPED),
    "kept": ([], {}),
    "looped, kept": ([], LOOPED),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every case, in a process of its own: MindSpore reads what it needs for this once, before its first graph."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    env["MS_DEV_DUMP_IR_PASSES"] = "hwopt_common_final_graph"  # one instead of two hundred
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("cases"))]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=300)
    told: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return told


def test_all_blocks_are_computed_twice_and_nothing_else_changes(found: dict[str, Any]) -> None:
    assert found["kept"]["norms"] == LAYERS
    assert found["all"] == {**found["kept"], "norms": 2 * LAYERS}


def test_every_second_block(found: dict[str, Any]) -> None:
    assert found["half"] == {**found["kept"], "norms": LAYERS + LAYERS // 2}


def test_in_the_loop_over_micro_batches(found: dict[str, Any]) -> None:
    assert found["looped"] == {**found["looped, kept"], "norms": 2 * LAYERS}


def test_a_task_without_blocks_is_told_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, [Recompute], steps=1, task=Plain)
    assert "the task names no blocks" in caplog.text


def test_less_than_every_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 is less than 1"):
        fit(tmp_path, [Recompute], recompute={"every": 0})


def told(folder: Path, name: str) -> dict[str, Any]:
    """What is to be the same, and how many layer norms are computed."""
    again, norms = train(folder, Layered, *CASES[name][:1], **CASES[name][1])
    weights = {key: weight.tobytes().hex() for key, weight in again.weights.items()}
    return {"norms": norms, "losses": again.losses, "weights": weights}


if __name__ == "__main__":
    print(json.dumps({name: told(Path(sys.argv[1]) / name, name) for name in CASES}))
