"""What the kernels compute, in float64 NumPy, and gradients of that by central differences."""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import cells
from mindloom_native.cells import native
from mindloom_native.compile import library
from mindspore import nn
from mindspore import ops as P

ROOT = Path(__file__).parents[3]
ALONE = "MINDLOOM_TEST_ALONE"
Arrays = tuple[np.ndarray, ...]
Function = Callable[..., np.ndarray]
erf = np.vectorize(math.erf, otypes=[float])

ms.set_device("CPU")  # before the first operation; later runs in this process cannot do it any more


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (erf(x / math.sqrt(2)) + 1) / 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def geglu(x: np.ndarray) -> np.ndarray:
    value, gate = np.split(x, 2, axis=-1)
    return value * gelu(gate)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def group_norm(groups: int, eps: float) -> Function:
    def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        rows = x.reshape(len(x), groups, -1)
        normed = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + eps)
        return normed.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]

    return norm


@dataclass(frozen=True)
class Kind:
    """One kernel: how its plain cell is made, the reference, and small inputs with whole, odd and single vectors."""

    make: Callable[[], nn.Cell]
    reference: Function
    shapes: Sequence[tuple[int, ...]]


ANY = ((1, 1), (5, 17), (2, 3, 16), (2, 77))
KINDS = {
    "gelu": Kind(cells.GELU, gelu, ANY),
    "quick gelu": Kind(cells.QuickGELU, lambda x: x * sigmoid(1.702 * x), ANY),
    "silu": Kind(cells.SiLU, silu, ANY),
    "softmax": Kind(cells.Softmax, softmax, ANY),
    "geglu": Kind(cells.GEGLU, geglu, ((1, 2), (5, 34), (2, 3, 32), (2, 46))),
    "layer norm 3": Kind(lambda: cells.LayerNorm(3), layer_norm, ((5, 3),)),
    "layer norm 32": Kind(lambda: cells.LayerNorm(32), layer_norm, ((2, 3, 32),)),
    "layer norm 45": Kind(lambda: cells.LayerNorm(45), layer_norm, ((3, 45), (1, 2, 45))),
    "group norm": Kind(lambda: cells.GroupNorm(2, 6), group_norm(2, 1e-5), ((2, 6, 3, 5), (1, 6, 4, 4))),
    "group norm, eps": Kind(lambda: cells.GroupNorm(3, 3, eps=1e-2), group_norm(3, 1e-2), ((2, 3, 5, 3),)),
    "group norm and silu": Kind(
        lambda: cells.GroupNorm(2, 4, silu=True), lambda *a: silu(group_norm(2, 1e-5)(*a)), ((2, 4, 3, 7), (1, 4, 1, 1))
    ),
}
CASES = [(name, shape) for name, kind in KINDS.items() for shape in kind.shapes]


def random(cell: nn.Cell) -> nn.Cell:
    """Draw its parameters."""
    rng = np.random.default_rng(3)
    for param in cell.get_parameters():
        param.set_data(ms.Tensor(rng.standard_normal(param.shape).astype(np.float32)))
    return cell


def pair(name: str) -> tuple[nn.Cell, nn.Cell]:
    """The plain cell, with random parameters, and the kernel in its place."""
    plain = random(KINDS[name].make())
    return plain, native(plain, library())


def close(found: np.ndarray, expected: np.ndarray, limit: float = 2e-6) -> None:
    """Compare, by the largest element."""
    assert found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, atol=limit * scale, rtol=0)


def normal(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def weights(cell: nn.Cell) -> Arrays:
    return tuple(param.asnumpy() for param in cell.get_parameters())


def gradients(cell: nn.Cell, x: np.ndarray, grad: np.ndarray) -> Arrays:
    """Of x and of every parameter."""
    params = ms.ParameterTuple(cell.trainable_params())
    if not params:
        return (P.GradOperation(sens_param=True)(cell)(ms.Tensor(x), ms.Tensor(grad)).asnumpy(),)
    found = P.GradOperation(get_all=True, get_by_list=True, sens_param=True)(cell, params)
    inputs, own = found(ms.Tensor(x), ms.Tensor(grad))
    return tuple(tensor.asnumpy() for tensor in (*inputs, *own))


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a process of its own: MindSpore reads what graphs to write once, before its first one."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        if os.environ.get(ALONE):
            return test(*given, **named)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", f"{inspect.getfile(test)}::{test.__name__}"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(command, env={**env, ALONE: "1"}, capture_output=True, text=True, timeout=200, cwd=ROOT)
        assert done.returncode == 0, done.stdout
        assert "1 passed" in done.stdout
        return None

    return run


def entries(folder: Path, cell: nn.Cell, position: Any, params: Sequence[ms.Parameter], *inputs: np.ndarray) -> Counter:
    """How often the graph of the result and these gradients calls each entry of the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MS_DEV_DUMP_IR_PASSES", "hwopt_common_final_graph")
        ms.set_context(save_graphs=1, save_graphs_path=str(folder))
        try:
            ms.value_and_grad(cell, position, params)(*(ms.Tensor(array) for array in inputs))
        finally:
            ms.set_context(save_graphs=0)
    graphs = "".join(file.read_text() for file in folder.rglob("hwopt_common_final_graph_*.ir"))
    return Counter(re.findall(r' func_name: "[^"]*:(\w+)"', graphs))


def differences(function: Function, inputs: Arrays, grad: np.ndarray, step: float = 1e-5) -> Arrays:
    """Gradients of sum(function(*inputs) * grad), element by element."""
    wide = [array.astype(np.float64) for array in inputs]
    found = []
    for array in wide:
        slope = np.zeros_like(array)
        for i in range(array.size):
            sums = []
            for sign in (1, -1):
                before = array.flat[i]
                array.flat[i] += sign * step
                sums.append(float((function(*wide) * grad).sum()))
                array.flat[i] = before
            slope.flat[i] = (sums[0] - sums[1]) / (2 * step)
        found.append(slope)
    return tuple(found)
