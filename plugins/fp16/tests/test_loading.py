"""Weights become float16 while they are read: the same bits as by reading all of them first, in half the memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom import Plugin, UserError, hookimpl
from mindloom.task import Task
from mindloom.testing import Toy, ToyTask, fit
from mindloom_fp16 import Fp16

LAYERS, SIDE = 16, 2048


class Layered(ToyTask):
    """The toy with many frozen matrices beside it, whose loader reads and casts one after the other."""

    casts_weights = True

    def __init__(self, layers: int, side: int) -> None:
        import mindspore as ms
        from mindspore import Parameter, nn
        from mindspore.common.initializer import initializer

        class Leaf(nn.Cell):
            def __init__(self) -> None:
                super().__init__()
                self.matrix = Parameter(initializer("normal", (side, side), ms.float32), requires_grad=False)

        super().__init__(4)
        self.model.insert_child_to_cell("leaves", nn.CellList([Leaf() for _ in range(layers)]))

    def load_weights(self, path: Path) -> None:
        import mindspore as ms

        for name, param in self.model.parameters_and_names():
            if (path / f"{name}.npy").exists():
                value = np.load(path / f"{name}.npy", mmap_mode="r")
                param.set_data(ms.Tensor(np.asarray(value, ms.dtype_to_nptype(param.dtype))))


class Seen(Plugin):
    """Keeps the parameters and the peak of memory before the first step, which never comes."""

    values: dict[str, np.ndarray]
    peak = 0

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        type(self).peak = peak()
        type(self).values = {name: param.asnumpy() for name, param in run.task.model.parameters_and_names()}
        raise UserError("enough")


def peak() -> int:
    """Bytes; not of ``getrusage``, which also knows the peak of the process that started this one."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def load(folder: Path, layers: int, side: int, casts: bool = True, **precision: Any) -> tuple[type[Seen], int]:
    """Build a run; return what was seen, and the peak before weights were loaded."""
    before = 0

    class Model(Toy):
        @hookimpl
        def make_task(self) -> Task:
            nonlocal before
            task = Layered(layers, side)
            task.casts_weights = casts
            before = peak()
            return task

    class Look(Seen): ...

    with pytest.raises(UserError, match="enough"):
        fit(folder, {"fp16": Fp16, "look": Look}, task=Model, weight=str(folder), plugins={"fp16": precision})
    return Look, before


@pytest.mark.parametrize(
    "precision", [{"mode": "param"}, {"mode": "param", "keep_float32": ["0.matrix"]}, {"mode": "amp"}]
)
def test_weights_are_bit_for_bit_those_that_are_cast_after_loading(tmp_path: Path, precision: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    for layer in range(2):  # the third one is missing, and drawn
        numbers = generator.standard_normal((64, 64), np.float32) * 10.0 ** generator.integers(-8, 4, (64, 64))
        np.save(tmp_path / f"leaves.{layer}.matrix.npy", numbers.astype(np.float32))
    found = {casts: load(tmp_path, 3, 64, casts, **precision)[0].values for casts in (True, False)}
    half = precision["mode"] == "param"
    assert found[True]["leaves.1.matrix"].dtype == (np.float16 if half else np.float32)
    assert found[True]["leaves.0.matrix"].dtype == (np.float32 if len(precision) > 1 or not half else np.float16)
    for name in ("leaves.0.matrix", "leaves.1.matrix"):
        assert found[True][name].tobytes() == found[False][name].tobytes()
    assert found[True]["leaves.2.matrix"].dtype == found[False]["leaves.2.matrix"].dtype
    assert found[True]["leaves.2.matrix"].std() == pytest.approx(0.01, rel=0.1), "drawn, as without a file"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux only")
def test_float16_weights_are_never_in_memory_as_float32(tmp_path: Path) -> None:
    for layer in range(LAYERS):
        header = np.lib.format.open_memmap(tmp_path / f"leaves.{layer}.matrix.npy", "w+", np.float32, (SIDE, SIDE))
        del header  # zeros: a hole that takes no room
    code = (
        "import sys; from pathlib import Path; import test_loading as t\n"
        "seen, before = t.load(Path(sys.argv[1]), t.LAYERS, t.SIDE, mode='param')\nprint(seen.peak - before)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    size = LAYERS * SIDE * SIDE * 2
    assert int(done.stdout.splitlines()[-1]) < 1.4 * size, "2 and more when all is read before it is cast"
