"""Transformer blocks in one node: float64, the plain block, threads, broken and empty inputs, and what is claimed."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom.attention import Attention
from mindloom.edits import CellEdit, apply
from mindloom.testing import fit
from mindloom.testing.tokens import tokens
from mindloom.transformer import TransformerBlock
from mindloom_native import Native, operators
from mindloom_native.blocks import NativeTransformerBlock, fits
from mindloom_native.compile import library
from mindspore import nn
from mindspore import ops as P

from .reference import Arrays, alone, close, differences, entries, geglu, layer_norm, normal, random, softmax

SMALL, ODD, WIDE = (6, 5, 3), (10, 7, 5), (48, 40, 24)
"""Width, context's width, head_dim."""


@pytest.fixture(autouse=True)
def _graph() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


def drawn(sizes: tuple[int, int, int]) -> TransformerBlock:
    """A block whose scores and outputs are of the order of its inputs."""
    block = random(TransformerBlock(*sizes))
    for param in block.get_parameters():
        param.set_data(param / math.sqrt(param.shape[-1]))
    return block


def pair(sizes: tuple[int, int, int]) -> tuple[TransformerBlock, NativeTransformerBlock]:
    """The plain block, with random parameters, and the kernel in its place."""
    plain = drawn(sizes)
    return plain, NativeTransformerBlock(plain, library())


def everything(block: nn.Cell, *inputs: np.ndarray) -> Arrays:
    """Of x and context: y, dx, dcontext and the gradients of all parameters."""
    *tensors, grad = (ms.Tensor(array) for array in (*inputs, normal(9, inputs[0].shape)))
    params = ms.ParameterTuple(block.get_parameters())
    of_inputs, own = P.GradOperation(get_all=True, get_by_list=True, sens_param=True)(block, params)(*tensors, grad)
    return tuple(tensor.asnumpy() for tensor in (block(*tensors), *of_inputs, *own))


def inputs(sizes: tuple[int, int, int], batch: int, count: int, keys: int) -> Arrays:
    return normal(1, (batch, count, sizes[0])), normal(2, (batch, keys, sizes[1]))


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, head_dim: int) -> np.ndarray:
    q, k, v = (np.stack(np.split(x, x.shape[-1] // head_dim, axis=-1), axis=1) for x in (q, k, v))
    mixed = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(head_dim)) @ v
    return np.concatenate(list(mixed.swapaxes(0, 1)), axis=-1)


def reference(head_dim: int) -> Any:
    """A block of x, context and the parameters in the order of the cell's."""

    def block(x: np.ndarray, context: np.ndarray, *weights: np.ndarray) -> np.ndarray:
        q1, k1, v1, o1, b1, wide, wide_bias, narrow, narrow_bias, q2, k2, v2, o2, b2, *norms = weights
        normed = layer_norm(x, *norms[:2])
        x = x + attention(normed @ q1.T, normed @ k1.T, normed @ v1.T, head_dim) @ o1.T + b1
        normed = layer_norm(x, *norms[2:4])
        x = x + attention(normed @ q2.T, context @ k2.T, context @ v2.T, head_dim) @ o2.T + b2
        return x + geglu(layer_norm(x, *norms[4:]) @ wide.T + wide_bias) @ narrow.T + narrow_bias

    return block


@pytest.mark.parametrize(("batch", "count", "keys"), [(2, 3, 4), (1, 1, 1)])
def test_results_and_gradients_agree_with_float64(batch: int, count: int, keys: int) -> None:
    _, kernel = pair(SMALL)
    given = (*inputs(SMALL, batch, count, keys), *(param.asnumpy() for param in kernel.get_parameters()))
    y, *slopes = everything(kernel, *given[:2])
    close(y, reference(SMALL[2])(*(array.astype(np.float64) for array in given)))
    expected = differences(reference(SMALL[2]), given, normal(9, y.shape))
    for ours, theirs in zip(slopes, expected, strict=True):
        close(ours, theirs, 1e-5)


def test_threads_change_rounding_and_repetition_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(WIDE, 2, 67, 11)
    expected = everything(pair(WIDE)[0], *given)
    for threads in (1, 2):
        monkeypatch.setattr(operators, "threads", lambda threads=threads: threads)
        kernel = pair(WIDE)[1]
        assert kernel.settings.asnumpy()[0] == threads
        found = everything(kernel, *given)
        for ours, theirs in zip(found, expected, strict=True):
            close(ours, theirs, 1e-5)
        again = everything(kernel, *given)
        assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))


def test_an_empty_batch_gives_an_empty_result_and_gradients_of_nothing() -> None:
    given = inputs(ODD, 0, 3, 4)
    y, dx, dcontext, *own = everything(pair(ODD)[1], *given)
    assert y.shape == dx.shape == given[0].shape
    assert dcontext.shape == given[1].shape
    assert not any(array.any() for array in own)


@pytest.mark.parametrize("which", [0, 1])
def test_a_nan_reaches_its_sample_and_no_other(which: int) -> None:
    given = inputs(ODD, 2, 3, 4)
    given[which][0, 1, 2] = np.nan
    y, dx, dcontext, *own = everything(pair(ODD)[1], *given)
    assert np.isnan(y[0]).all()
    assert np.isnan(dx[0]).all()
    assert all(np.isfinite(array[1]).all() for array in (y, dx, dcontext))
    assert np.isnan(own[1]).all()  # of the keys, which attention mixes


def test_what_is_not_float32_is_left_to_the_plain_cells() -> None:
    plain, kernel = pair(ODD)
    given = [ms.Tensor(array, ms.float16) for array in inputs(ODD, 2, 3, 4)]
    for block in (plain, kernel):
        block.to_float(ms.float16)
    assert kernel(*given).dtype == ms.float16
    assert np.array_equal(kernel(*given).asnumpy(), plain(*given).asnumpy())


def test_parameters_have_the_same_names_in_the_same_order_and_are_the_same() -> None:
    plain, kernel = pair(SMALL)
    names = [(name, id(param)) for name, param in plain.parameters_and_names()]
    assert [(name, id(param)) for name, param in kernel.parameters_and_names()] == names


@alone
def test_a_context_that_needs_no_gradient_has_no_node_for_it(tmp_path: Path) -> None:
    kernel, given = pair(ODD)[1], inputs(ODD, 2, 3, 4)
    block = {"transformer_block": 1, "transformer_block_backward": 1}
    assert entries(tmp_path / "x", kernel, 0, kernel.trainable_params(), *given) == block
    assert entries(tmp_path / "both", kernel, (0, 1), kernel.trainable_params(), *given) == {
        **block,
        "linear_inputs": 2,
    }


class Model(nn.Cell):
    """A block that attends to its own input."""

    def __init__(self) -> None:
        super().__init__()
        self.block = drawn((12, 12, 6))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.block(x, x)


class Nothing(Attention):
    """Attends to nothing."""

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        return q * 0.0


def edited(*others: CellEdit, model: nn.Cell | None = None) -> nn.Cell:
    """A model after this plugin's claims and another one's."""
    plugin = Native()
    plugin.cfg = Native.Config()
    log = logging.getLogger("test")
    run: Any = SimpleNamespace(device=SimpleNamespace(target="CPU"), log=log)
    model = model or Model()
    ours = [("native", edit) for edit in plugin.edit_model(run, model)]
    apply([model], [*ours, *(("other", edit) for edit in others)], log)
    return model


def no_attention(equal: bool) -> CellEdit:
    def build(name: str, cell: Any) -> nn.Cell:
        return Nothing(cell.heads, cell.head_dim)

    return CellEdit(lambda name, cell: type(cell) is Attention, build, "less to do", equal=equal)


def test_a_block_is_not_claimed_around_what_computes_something_else() -> None:
    block = edited(no_attention(equal=False)).block
    assert type(block) is TransformerBlock
    assert type(block.attn1.attention) is type(block.attn2.attention) is Nothing
    assert type(block.norm1) is not type(Model().block.norm1)


def test_a_block_is_claimed_around_what_computes_the_same_which_still_serves_float16() -> None:
    model, plain = edited(no_attention(equal=True)), Model()
    assert type(model.block) is NativeTransformerBlock
    x = ms.Tensor(normal(1, (2, 3, 12)))
    close(model(x).asnumpy(), plain(x).asnumpy(), 1e-5)
    without = Model()
    without.block.attn1.attention = without.block.attn2.attention = Nothing(2, 6)
    for each in (model, without):
        each.to_float(ms.float16)
    half = x.astype(ms.float16)
    np.testing.assert_allclose(model(half).asnumpy(), without(half).asnumpy(), rtol=2e-2, atol=2e-2)


def test_a_block_of_other_parts_is_left_alone() -> None:
    model = Model()
    assert fits(model.block)
    model.block.attn2.attention = Nothing(2, 6)
    assert type(edited(model=model).block) is TransformerBlock
    model = Model()
    model.block.norm2.eps = 1e-3
    assert not fits(model.block)


RECOMPUTING = """
from mindspore._extends.parse import compile_config

compile_config.ENABLE_RECOMPUTE_BEFORE_INLINE = "1"  # as the plugin recompute does it; MindSpore reads it once
import mindspore as ms
from pathlib import Path
from mindloom.build import name_parameters
from mindspore import nn
from {module} import Model, edited, entries, normal

ms.set_context(mode=ms.GRAPH_MODE)
for i in range(2):
    model = edited(model=nn.SequentialCell(Model(), Model()))
    name_parameters(model)
    if i:
        model[0].block.recompute()
    found = entries(Path({folder!r}, str(i)), model, 0, model.trainable_params(), normal(1, (2, 3, 12)))
    print(*(found[name] for name in ("copy", "transformer_block", "transformer_block_backward")))
"""


def test_a_block_that_is_recomputed_is_computed_twice(tmp_path: Path) -> None:
    script = RECOMPUTING.format(module=__name__, folder=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0", "2", "2", "1", "3", "2"], done.stderr


def test_training_has_the_losses_and_weights_of_a_run_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = tokens(Model, 5, 12)
    plain = fit(tmp_path / "plain", {"toy": task}, steps=4)
    native = fit(tmp_path / "native", {"toy": task, "native": Native}, steps=4)
    assert "native replaced 1 cells: a whole transformer block in one node" in caplog.text
    np.testing.assert_allclose(native.losses, plain.losses, rtol=1e-5)
    assert list(native.weights) == list(plain.weights)
    for name, weight in plain.weights.items():
        np.testing.assert_allclose(native.weights[name], weight, atol=1e-5, err_msg=name)
