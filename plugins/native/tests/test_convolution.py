"""Convolutions against float64 and the plain cell, many kernels, strides and paddings in each compiled graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from mindloom import cells
from mindloom_native import operators
from mindloom_native.cells import native
from mindloom_native.compile import library
from mindspore import nn
from mindspore import ops as P

from .reference import Arrays, alone, close, entries, normal, random

SAME, NONE, ONE_SIDED = None, 0, (0, 1, 0, 1)


class Size(NamedTuple):
    """One layer and its input."""

    shape: tuple[int, int, int, int]
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int | tuple[int, int, int, int] | None = SAME

    def cell(self) -> cells.Conv2d:
        return cells.Conv2d(self.shape[1], self.outputs, self.kernel, self.stride, self.padding)


SIZES = {
    "1": Size((2, 5, 7, 9), 3, 1),
    "1, cut in rows": Size((3, 3, 40, 31), 4, 1),
    "1, one-sided": Size((1, 2, 3, 4), 3, 1, 1, ONE_SIDED),
    "1, one pixel": Size((1, 4, 1, 1), 3, 1),
    "1 by 2": Size((3, 5, 7, 8), 3, 1, 2),
    "2, no padding": Size((3, 3, 5, 6), 4, 2, 1, NONE),
    "2, padded": Size((1, 3, 4, 7), 2, 2),
    "2 by 2": Size((3, 2, 7, 6), 3, 2, 2, NONE),
    "2 by 2, one-sided": Size((1, 2, 7, 6), 3, 2, 2, ONE_SIDED),
    "3": Size((3, 5, 7, 9), 4),
    "3, no padding": Size((1, 4, 9, 5), 3, 3, 1, NONE),
    "3, no padding, one pixel left": Size((2, 4, 3, 3), 3, 3, 1, NONE),
    "3, one-sided": Size((2, 2, 6, 5), 5, 3, 1, ONE_SIDED),
    "3, four paddings": Size((2, 3, 4, 5), 2, 3, 1, (3, 0, 2, 4)),
    "3, one pixel": Size((3, 4, 1, 1), 3),
    "3, one column": Size((1, 3, 6, 1), 2),
    "3 by 2, even": Size((2, 4, 8, 6), 3, 3, 2),
    "3 by 2, odd": Size((1, 3, 7, 9), 4, 3, 2),
    "3 by 2, no padding, last row unused": Size((2, 3, 8, 6), 4, 3, 2, NONE),
    "3 by 2, one-sided": Size((3, 4, 8, 6), 4, 3, 2, ONE_SIDED),
    "3 by 2, one pixel": Size((1, 3, 1, 1), 2, 3, 2),
    "5": Size((2, 3, 6, 7), 4, 5),
    "5, two columns": Size((1, 2, 9, 2), 3, 5),
    "5 by 2, one row": Size((2, 2, 1, 7), 3, 5, 2),
    "columns in parts of rows and channels": Size((1, 250, 29, 23), 3),
    "columns in parts, by 2": Size((2, 250, 57, 45), 2, 3, 2, ONE_SIDED),
    "one row of columns is too much": Size((1, 2, 3, 60001), 2),
    "no pictures": Size((0, 3, 5, 4), 2),
    "no pictures, 1": Size((0, 3, 5, 4), 2, 1),
}
ALL = tuple(SIZES.values())
FULL, LARGE = ALL[:-2], [size for size in ALL if np.prod(size.shape) > 900]
UNSEEN = {"1 by 2", "2 by 2", "3 by 2, no padding, last row unused", "no pictures", "no pictures, 1"}
"""Where no output sees the last pixel of the last picture."""


@pytest.fixture(autouse=True)
def _graph() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


def reference(layer: cells.Conv2d, x: np.ndarray, grad: np.ndarray) -> Arrays:
    """Return y, dx, dweight and dbias: the sum over the kernel's taps of what each sees of the padded picture."""
    x, grad, weight, bias = (a.astype(np.float64) for a in (x, grad, layer.weight.asnumpy(), layer.bias.asnumpy()))
    (top, bottom, left, right), step = layer.padding, layer.stride
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    y = np.zeros_like(grad) + bias[:, None, None]
    for ky, kx in np.ndindex(weight.shape[2:]):
        rows, columns = (slice(k, k + (n - 1) * step + 1, step) for k, n in ((ky, y.shape[2]), (kx, y.shape[3])))
        tap, seen = weight[:, :, ky, kx], padded[:, :, rows, columns]
        y += np.einsum("oc,bchw->bohw", tap, seen, optimize=True)
        dpadded[:, :, rows, columns] += np.einsum("oc,bohw->bchw", tap, grad, optimize=True)
        dweight[:, :, ky, kx] = np.einsum("bohw,bchw->oc", grad, seen, optimize=True)
    height, width = x.shape[2:]
    return y, dpadded[:, :, top : top + height, left : left + width], dweight, grad.sum((0, 2, 3))


class Layers(nn.Cell):
    """A layer of every size in one graph."""

    def __init__(self, kernel: bool, sizes: Sequence[Size] = ALL) -> None:
        super().__init__()
        plain = random(nn.CellList([size.cell() for size in sizes]))
        self.layers = nn.CellList([native(layer, library()) for layer in plain]) if kernel else plain
        self.params = ms.ParameterTuple(self.get_parameters())
        self.both = P.GradOperation(get_all=True, get_by_list=True, sens_param=True)(self, self.params)

    def construct(self, *xs: ms.Tensor) -> tuple[ms.Tensor, ...]:
        outputs = ()
        for i in range(len(self.layers)):
            outputs += (self.layers[i](xs[i]),)
        return outputs

    def everything(self, xs: list[np.ndarray], grads: list[np.ndarray]) -> list[Arrays]:
        """Of each layer: y, dx, dweight and dbias."""
        inputs, sens = ([ms.Tensor(array) for array in arrays] for arrays in (xs, grads))
        outputs, (of_x, own) = self(*inputs), self.both(*inputs, tuple(sens))
        found = zip(outputs, of_x, own[::2], own[1::2], strict=True)
        return [tuple(tensor.asnumpy() for tensor in tensors) for tensors in found]


def inputs(sizes: Sequence[Size] = ALL) -> list[np.ndarray]:
    return [normal(i, size.shape) for i, size in enumerate(sizes)]


def gradients(sizes: Sequence[Size] = ALL) -> list[np.ndarray]:
    found = []
    for i, (shape, outputs, kernel, stride, padding) in enumerate(sizes):
        pad = kernel // 2 if padding is None else padding
        top, bottom, left, right = (pad,) * 4 if isinstance(pad, int) else pad
        height, width = (
            (shape[2] + top + bottom - kernel) // stride + 1,
            (shape[3] + left + right - kernel) // stride + 1,
        )
        found.append(normal(100 + i, (shape[0], outputs, height, width)))
    return found


@pytest.fixture(scope="module")
def layers() -> Layers:
    ms.set_context(mode=ms.GRAPH_MODE)
    return Layers(kernel=True)


@pytest.fixture(scope="module")
def found(layers: Layers) -> dict[str, Arrays]:
    """What all layers compute, on as many threads as there are."""
    return dict(zip(SIZES, layers.everything(inputs(), gradients()), strict=True))


@pytest.mark.parametrize("name", SIZES)
def test_results_and_gradients_agree_with_float64(name: str, layers: Layers, found: dict[str, Arrays]) -> None:
    i = list(SIZES).index(name)
    for ours, theirs in zip(found[name], reference(layers.layers[i], inputs()[i], gradients()[i]), strict=True):
        close(ours, theirs, 1e-5)


def test_they_agree_with_the_plain_cell(found: dict[str, Arrays]) -> None:
    # Of no pictures MindSpore's own convolution makes nothing.
    plain = Layers(kernel=False, sizes=FULL).everything(inputs(FULL), gradients(FULL))
    for ours, theirs in zip(found.values(), plain, strict=False):
        for one, other in zip(ours, theirs, strict=True):
            close(one, other, 1e-5)


def test_repetition_changes_no_bit(layers: Layers, found: dict[str, Arrays]) -> None:
    for name, again in zip(SIZES, layers.everything(inputs(), gradients()), strict=True):
        assert all(np.array_equal(one, two) for one, two in zip(found[name], again, strict=True)), name


def test_threads_change_only_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(operators, "threads", lambda threads=threads: threads)
        layers = Layers(kernel=True, sizes=LARGE)
        assert layers.layers[0].settings.asnumpy()[0] == threads
        results.append(layers.everything(inputs(LARGE), gradients(LARGE)))
    for single, together in zip(*results, strict=True):
        for one, two in zip(single, together, strict=True):
            close(one, two, 2e-6)


def test_a_nan_reaches_all_that_sees_it_and_nothing_else(layers: Layers) -> None:
    xs, grads = inputs(), gradients()
    for array in (*xs, *grads):
        if array.size:
            array[-1, -1, -1, -1] = np.nan
    found = dict(zip(SIZES, layers.everything(xs, grads), strict=True))
    for i, (name, ours) in enumerate(found.items()):
        for one, other in zip(ours, reference(layers.layers[i], xs[i], grads[i]), strict=True):
            assert np.array_equal(np.isnan(one), np.isnan(other)), name
            close(np.nan_to_num(one), np.nan_to_num(other), 1e-5)
    assert {name for name, (y, *_) in found.items() if not np.isnan(y).any()} == UNSEEN


@alone
def test_what_needs_no_gradient_has_no_node_for_it(tmp_path: Path) -> None:
    layer, x = native(cells.Conv2d(3, 4), library()), normal(1, (2, 3, 5, 6))
    own = layer.trainable_params()
    assert entries(tmp_path / "weights", layer, None, own, x) == {"convolution": 1, "convolution_weights": 1}
    layer.weight.requires_grad = layer.bias.requires_grad = False
    assert entries(tmp_path / "input", layer, 0, None, x) == {"convolution": 1, "convolution_inputs": 1}


def test_float16_is_left_to_the_plain_cell() -> None:
    plain = random(cells.Conv2d(3, 4, stride=2, padding=ONE_SIDED))
    kernel = native(plain, library())
    x = ms.Tensor(normal(1, (2, 3, 5, 6)), ms.float16)
    for layer in (plain, kernel):
        layer.to_float(ms.float16)
    assert kernel(x).dtype == ms.float16
    assert np.array_equal(kernel(x).asnumpy(), plain(x).asnumpy())


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8, 2), (1, 3, 1, 8)], ids=["channels", "width", "height"])
def test_a_picture_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    layer = cells.Conv2d(3, 4, padding=NONE)
    for cell in (layer, native(layer, library())):
        with pytest.raises((ValueError, RuntimeError)):
            cell(ms.Tensor(normal(1, shape))).asnumpy()
