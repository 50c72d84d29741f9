"""Linear layers against float64 and the plain cell, many sizes in each compiled graph, with and without bias."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom import cells
from mindloom.edits import apply
from mindloom_native import Native, compile, operators
from mindloom_native.cells import NativeConv2d, NativeDense, native
from mindloom_native.compile import library
from mindspore import nn
from mindspore import ops as P

from .reference import Arrays, alone, close, entries, normal, random

SIZES = {
    "one number": ((1, 1), 1),
    "one row": ((1, 3), 5),
    "odd": ((7, 33), 17),
    "three axes": ((2, 5, 16), 48),
    "four axes, one output": ((2, 3, 4, 19), 1),
    "rows on two threads": ((151, 121), 127),
    "columns on two threads": ((7, 601), 557),
    "no rows": ((0, 8), 6),
    "no rows of three axes": ((2, 0, 33), 17),
}
"""Shape of x, number of outputs."""
SHAPES = [shape for shape, _ in SIZES.values() for _ in range(2)]
NAMES = [f"{name}{bias}" for name in SIZES for bias in (", bias", "")]


@pytest.fixture(autouse=True)
def _graph() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


class Layers(nn.Cell):
    """A layer with and one without bias of every size, in one graph."""

    def __init__(self, kernel: bool, count: int = len(SHAPES)) -> None:
        super().__init__()
        sizes = [(shape[-1], outputs, bias) for shape, outputs in SIZES.values() for bias in (True, False)]
        plain = random(nn.CellList([cells.Dense(*size) for size in sizes[:count]]))
        self.layers = nn.CellList([native(layer, library()) for layer in plain]) if kernel else plain
        self.params = ms.ParameterTuple(self.get_parameters())
        self.both = P.GradOperation(get_all=True, get_by_list=True, sens_param=True)(self, self.params)

    def construct(self, *xs: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = ()
        for i in range(len(self.layers)):
            outputs += (self.layers[i](xs[i]),)
        return outputs

    def everything(self, xs: list[np.ndarray]) -> list[Arrays]:
        """Of each layer: y, dx, dweight and, where there is one, dbias."""
        tensors, grads = ([ms.Tensor(array) for array in some] for some in (xs, gradients(xs)))
        outputs, (of_x, own) = self(*tensors), self.both(*tensors, tuple(grads))
        rest = iter(own)
        return [
            tuple(tensor.asnumpy() for tensor in (y, dx, *(next(rest) for _ in layer.get_parameters())))
            for layer, y, dx in zip(self.layers, outputs, of_x, strict=True)
        ]


def inputs(count: int = len(SHAPES)) -> list[np.ndarray]:
    return [normal(i, shape) for i, shape in enumerate(SHAPES[:count])]


def gradients(xs: list[np.ndarray]) -> list[np.ndarray]:
    outputs = [count for _, count in SIZES.values() for _ in range(2)]
    return [normal(100 + i, (*x.shape[:-1], outputs[i])) for i, x in enumerate(xs)]


@pytest.fixture(scope="module")
def layers() -> Layers:
    ms.set_context(mode=ms.GRAPH_MODE)
    return Layers(kernel=True)


@pytest.fixture(scope="module")
def found(layers: Layers) -> dict[str, Arrays]:
    """What all layers compute, on as many threads as there are."""
    return dict(zip(NAMES, layers.everything(inputs()), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_results_and_gradients_agree_with_float64(name: str, layers: Layers, found: dict[str, Arrays]) -> None:
    i = NAMES.index(name)
    x, grad = (some[i].astype(np.float64) for some in (inputs(), gradients(inputs())))
    weight, *bias = (param.asnumpy().astype(np.float64) for param in layers.layers[i].get_parameters())
    rows, row_grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    expected = [x @ weight.T + sum(bias), grad @ weight, row_grads.T @ rows, *([row_grads.sum(0)] if bias else [])]
    for ours, theirs in zip(found[name], expected, strict=True):
        close(ours, theirs, 1e-5)


def test_they_agree_with_the_plain_cell(found: dict[str, Arrays]) -> None:
    rows = len(SHAPES) - 4  # MindSpore's own product refuses to have none
    plain = Layers(kernel=False, count=rows).everything(inputs(rows))
    for name, theirs in zip(NAMES, plain, strict=False):
        for one, other in zip(found[name], theirs, strict=True):
            close(one, other, 1e-5)


def test_repetition_changes_no_bit_and_threads_only_rounding(
    layers: Layers, found: dict[str, Arrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, again in zip(NAMES, layers.everything(inputs()), strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(found[name], again, strict=True)), name
    for threads in (1, 2):
        monkeypatch.setattr(operators, "threads", lambda threads=threads: threads)
        other = Layers(kernel=True)
        assert other.layers[0].settings.asnumpy()[0] == threads
        for name, ours in zip(NAMES, other.everything(inputs()), strict=True):
            for one, two in zip(found[name], ours, strict=True):
                close(one, two, 1e-6)


def test_a_nan_reaches_its_row_and_the_gradient_of_its_weights(layers: Layers) -> None:
    xs = inputs()
    for x in xs:
        if x.size:
            x.reshape(-1, x.shape[-1])[-1, -1] = np.nan
    for name, x, (y, dx, dweight, *dbias) in zip(NAMES, xs, layers.everything(xs), strict=True):
        spoiled = np.isnan(y.reshape(-1, y.shape[-1]))
        assert not spoiled[:-1].any(), name
        assert spoiled[-1:].all(), name
        assert np.isfinite(dx).all(), name
        assert np.isfinite(dweight[:, :-1]).all(), name
        assert np.isnan(dweight[:, -1]).all() == bool(x.size), name
        assert all(np.isfinite(array).all() for array in dbias), name


@alone
def test_what_needs_no_gradient_has_no_node_for_it(tmp_path: Path) -> None:
    layer, x = native(cells.Dense(33, 17), library()), normal(1, (7, 33))
    own = layer.trainable_params()
    assert entries(tmp_path / "weights", layer, None, own, x) == {"linear_bias": 1, "linear_weights": 1}
    layer.weight.requires_grad = layer.bias.requires_grad = False
    assert entries(tmp_path / "input", layer, 0, None, x) == {"linear_bias": 1, "linear_inputs": 1}


def test_float16_is_left_to_the_plain_cell() -> None:
    plain = random(cells.Dense(33, 17))
    kernel = native(plain, library())
    x = ms.Tensor(normal(1, (7, 33)), ms.float16)
    for layer in (plain, kernel):
        layer.to_float(ms.float16)
    assert kernel(x).dtype == ms.float16
    assert np.array_equal(kernel(x).asnumpy(), plain(x).asnumpy())


def test_the_product_without_parameters_of_its_own_is_the_same() -> None:
    layer = native(random(cells.Dense(33, 17)), library())
    affine = native(cells.Affine(), library())
    x = ms.Tensor(normal(1, (2, 7, 33)))
    assert np.array_equal(affine(x, layer.weight, layer.bias).asnumpy(), layer(x).asnumpy())
    without = affine(x, layer.weight, None).asnumpy()
    close(without + layer.bias.asnumpy(), layer(x).asnumpy())
    half = [tensor.astype(ms.float16) for tensor in (x, layer.weight, layer.bias)]
    assert np.array_equal(affine(*half).asnumpy(), cells.Affine()(*half).asnumpy())


def test_without_dnnl_products_stay_plain_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("test")
    caplog.set_level(logging.INFO)
    run: Any = SimpleNamespace(device=SimpleNamespace(target="CPU"), log=log)
    plugin = Native()
    plugin.cfg = Native.Config()

    def replaced() -> tuple[bool, bool, bool]:
        model = nn.SequentialCell(cells.Dense(3, 4), cells.GELU(), cells.Conv2d(3, 4))
        apply([model], [("native", edit) for edit in plugin.edit_model(run, model)], log)
        return isinstance(model[0], NativeDense), type(model[1]) is not cells.GELU, isinstance(model[2], NativeConv2d)

    assert replaced() == (True, True, True)
    assert "libdnnl" not in caplog.text
    monkeypatch.setattr(compile, "has_products", lambda: False)
    assert replaced() == (False, True, False)
    assert caplog.text.count("native leaves linear layers and convolutions plain: this MindSpore has no libdnnl") == 1


def test_a_mindspore_without_the_library_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile.has_products()
    for place in (None, SimpleNamespace(origin=None), SimpleNamespace(origin="/nonexistent/__init__.py")):
        monkeypatch.setattr(compile, "find_spec", lambda name, place=place: place)
        assert not compile.has_products()
