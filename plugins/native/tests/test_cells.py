"""Every kernel against float64, finite differences and the plain cell; odd, empty, extreme and broken inputs."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindloom_native import operators

from .reference import CASES, KINDS, close, differences, gradients, normal, pair, weights


@pytest.fixture(autouse=True)
def _graph() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_results_and_gradients_agree_with_float64(name: str, shape: tuple[int, ...]) -> None:
    _, kernel = pair(name)
    x = normal(1, shape, 2.0)
    inputs = (x, *weights(kernel))
    expected = KINDS[name].reference(*(array.astype(np.float64) for array in inputs))
    found = kernel(ms.Tensor(x)).asnumpy()
    close(found, expected)
    grad = normal(2, found.shape)
    for ours, theirs in zip(gradients(kernel, x, grad), differences(KINDS[name].reference, inputs, grad), strict=True):
        close(ours, theirs, 1e-5)


WIDE = {"gelu": (3, 40001), "quick gelu": (3, 40001), "silu": (3, 40001), "softmax": (300, 1001), "geglu": (200, 1002)}
WIDE |= {"layer norm 45": (3000, 45), "group norm": (2, 6, 65, 63), "group norm and silu": (3, 4, 101, 99)}


@pytest.mark.parametrize("name", WIDE)
def test_several_blocks_and_threads_agree_with_the_plain_cell(name: str) -> None:
    plain, kernel = pair(name)
    x = normal(1, WIDE[name], 2.0)
    expected = plain(ms.Tensor(x)).asnumpy()
    close(kernel(ms.Tensor(x)).asnumpy(), expected, 5e-6)
    grad = normal(2, expected.shape)
    for ours, theirs in zip(gradients(kernel, x, grad), gradients(plain, x, grad), strict=True):
        close(ours, theirs, 2e-5)


@pytest.mark.parametrize("name", WIDE)
def test_neither_threads_nor_repetition_change_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(1, WIDE[name])
    grad = normal(2, pair(name)[0](ms.Tensor(x)).shape)
    runs = []
    for threads in (1, 2, 3, 2):
        monkeypatch.setattr(operators, "threads", lambda threads=threads: threads)
        kernel = pair(name)[1]
        assert kernel.settings.asnumpy()[0] == threads
        runs.append((kernel(ms.Tensor(x)).asnumpy(), *gradients(kernel, x, grad)))
    for other in runs[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(runs[0], other, strict=True))


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("group")])
def test_an_empty_batch_gives_an_empty_result_and_gradients_of_nothing(name: str) -> None:
    _, kernel = pair(name)
    shape = (0, *KINDS[name].shapes[0][1:])
    out = kernel(ms.Tensor(np.zeros(shape, np.float32)))
    assert out.shape[0] == 0
    of_x, *own = gradients(kernel, np.zeros(shape, np.float32), np.zeros(out.shape, np.float32))
    assert of_x.shape == shape
    assert all(not array.any() for array in own)


@pytest.mark.parametrize("place", [0, 15, 16, 18])
@pytest.mark.parametrize("name", ["gelu", "quick gelu", "silu", "softmax", "layer norm 45", "geglu"])
def test_a_nan_reaches_its_row_and_no_other(name: str, place: int) -> None:
    _, kernel = pair(name)
    width = {"layer norm 45": 45, "geglu": 38}.get(name, 19)
    x = normal(1, (3, width))
    x[1, place] = np.nan
    out = kernel(ms.Tensor(x)).asnumpy()
    spoiled = np.isnan(out)
    assert not spoiled[[0, 2]].any()
    assert spoiled[1, place]
    assert spoiled[1].all() == (name in ("softmax", "layer norm 45"))
    of_x = gradients(kernel, x, np.ones_like(out))[0]
    assert not np.isnan(of_x[[0, 2]]).any()
    assert np.isnan(of_x[1, place]) or name == "geglu"
    assert np.isnan(of_x[1]).any()


@pytest.mark.parametrize("name", ["group norm", "group norm and silu"])
def test_a_nan_reaches_its_group_and_no_other(name: str) -> None:
    _, kernel = pair(name)
    x = normal(1, KINDS[name].shapes[0])
    half = x.shape[1] // 2
    x[0, 0, 0, 0] = np.nan
    out = kernel(ms.Tensor(x)).asnumpy()
    assert np.isnan(out[0, :half]).all()
    assert np.isfinite(out[0, half:]).all()
    assert np.isfinite(out[1:]).all()
    _, of_weight, of_bias = gradients(kernel, x, np.ones_like(out))
    assert np.isnan(of_weight[:half]).all()
    assert np.isfinite(of_weight[half:]).all()
    assert np.isfinite(of_bias[half:]).all()


@pytest.mark.parametrize("name", ["gelu", "quick gelu", "silu"])
def test_far_from_zero_activations_are_nothing_or_the_identity(name: str) -> None:
    _, kernel = pair(name)
    x = np.array([[-3e38, -1e19, -200, -20, 20, 200, 1e19, 3e38, np.inf, 0.0, -0.0, 1e-38, -1e-45]], np.float32)
    out = kernel(ms.Tensor(x)).asnumpy()
    np.testing.assert_allclose(out[0, :4], 0, atol=1e-7)
    np.testing.assert_array_equal(out[0, 4:9], x[0, 4:9])
    np.testing.assert_allclose(out[0, 9:], x[0, 9:] / 2, atol=1e-38)  # subnormal numbers may count as 0
    (slope,) = gradients(kernel, x[:, :8], np.ones((1, 8), np.float32))
    np.testing.assert_allclose(slope[0], [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-6)


def test_softmax_takes_any_finite_number_and_hidden_places() -> None:
    _, kernel = pair("softmax")
    x = np.array([[3e38, 3e38, -3e38], [-1e4, 0, -1e4], [-np.inf, 1, 1], [-3e38, -3e38, -3e38]], np.float32)
    expected = [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [1 / 3] * 3]
    np.testing.assert_allclose(kernel(ms.Tensor(x)).asnumpy(), expected, atol=1e-7)


def test_norms_do_not_cancel_far_from_zero() -> None:
    _, kernel = pair("layer norm 45")
    x = normal(1, (4, 45)) + 1000
    expected = KINDS["layer norm 45"].reference(*(a.astype(np.float64) for a in (x, *weights(kernel))))
    close(kernel(ms.Tensor(x)).asnumpy(), expected, 1e-4)


def test_a_constant_row_is_its_bias() -> None:
    _, kernel = pair("layer norm 45")
    out = kernel(ms.Tensor(np.full((2, 45), 7, np.float32))).asnumpy()
    np.testing.assert_array_equal(out[0], kernel.bias.asnumpy())


@pytest.mark.parametrize("name", ["gelu", "geglu", "softmax", "layer norm 32", "group norm and silu"])
def test_float16_is_left_to_the_plain_cell(name: str) -> None:
    plain, kernel = pair(name)
    x = ms.Tensor(normal(1, KINDS[name].shapes[0])).astype(ms.float16)
    for cell in (plain, kernel):
        if cell.trainable_params():
            cell.to_float(ms.float16)
    out = kernel(x)
    assert out.dtype == ms.float16
    assert np.array_equal(out.asnumpy(), plain(x).asnumpy())


@pytest.mark.parametrize("name", ["geglu", "softmax", "layer norm 45", "group norm and silu"])
def test_eager_mode_gives_the_same(name: str) -> None:
    _, kernel = pair(name)
    x = normal(1, KINDS[name].shapes[0])

    def everything() -> tuple[np.ndarray, ...]:
        out = kernel(ms.Tensor(x)).asnumpy()
        return (out, *gradients(kernel, x, np.ones_like(out)))

    compiled = everything()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    for ours, theirs in zip(everything(), compiled, strict=True):
        close(ours, theirs, 1e-6)


def test_parameters_are_taken_over_not_copied() -> None:
    plain, kernel = pair("layer norm 45")
    names = [(name, id(param)) for name, param in plain.parameters_and_names()]
    assert [(name, id(param)) for name, param in kernel.parameters_and_names()] == names
