"""Compiling a step as far as MindSpore goes without the device, and reading the graph that it accepted."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P

if TYPE_CHECKING:
    from .run import Run

LAST = "NPUGetFloatStatus"
"""The operator at the end of every probe: the front end knows it, no CPU has it, and it costs eight numbers."""

REFUSED = re.compile(r"Unsupported op \[(\w+)\] on CPU")
STAGES = "MS_DEV_DUMP_IR_PASSES"
GRAPH = "_validate"
"""The compiler's stage that dumps the graph: the front end's last one, after all optimisation."""

COUNT = re.compile(r"Total number of cnodes: (\d+)")
CALL = re.compile(r"  %\d+\([^)]*\) = (?:PrimFunc_)?(\w+)\(")


@dataclass(frozen=True)
class Graph:
    """What the front end made of a step.

    Attributes:
        nodes: calls in all of its subgraphs.
        operators: name -> calls.
    """

    nodes: int
    operators: Counter[str]


class Probe(nn.Cell):
    """The step with one operator behind it that no CPU has.

    Otherwise a step of common operators would go on to allocate every parameter.
    """

    def __init__(self, step: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.step, self.place = step, step.outputs.index("loss")
        self.reshape, self.tile, self.last, self.depend = P.Reshape(), P.Tile(), P.NPUGetFloatStatus(), P.Depend()

    def construct(self, lr: ms.Tensor, *columns: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = self.step(lr, *columns)
        loss = self.reshape(self.depend(outputs[self.place], outputs).astype(ms.float32), (1,))
        return (*outputs, self.last(self.tile(loss, (8,))))


def compile_step(run: Run, step: nn.Cell, known: Collection[str]) -> Graph:
    """Compile a step on a batch of examples up to the choice of kernels; errors of any other kind are MindSpore's own.

    Args:
        run: whose path may be written to.
        known: names of operators that the target has and a CPU has not.
    """
    inputs = (ms.Tensor(0.0, ms.float32), *map(ms.Tensor, batch(run)))
    with dumping(run.path):
        try:
            Probe(step).compile(*inputs)
        except RuntimeError as error:
            found = REFUSED.search(str(error))
            if found is None or found[1] not in {LAST, *known}:
                raise
    return read(run.path)


def batch(run: Run) -> list[np.ndarray]:
    """One batch, as the pipeline stacks it, of the task's example."""
    row = run.task.example()
    micros, size = run.cfg.gradient_accumulation_steps, run.cfg.per_batch_size
    lead = (micros, size) if micros > 1 else (size,)
    return [np.broadcast_to(row[name], lead + row[name].shape).copy() for name in run.task.columns]


@contextmanager
def dumping(folder: Path) -> Iterator[None]:
    """Let the compiler write the graph of one stage, and what it has to say about errors, into a folder."""
    stages = os.environ.get(STAGES)
    os.environ[STAGES] = GRAPH
    # Not by its environment variable, which is read once, when a process compiles first.
    ms.set_context(save_graphs=1, save_graphs_path=str(folder))
    try:
        yield
    finally:
        ms.set_context(save_graphs=0, save_graphs_path=".")
        if stages is None:
            del os.environ[STAGES]
        else:
            os.environ[STAGES] = stages


def read(folder: Path) -> Graph:
    """Count the calls in the dumped graph."""
    operators: Counter[str] = Counter()
    nodes = 0
    for path in folder.rglob(f"*{GRAPH}*.ir"):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if call := CALL.match(line):
                    operators[call[1]] += 1
                elif count := COUNT.search(line):
                    nodes += int(count[1])
    return Graph(nodes, operators)
