"""The search itself: one number that is wrong is found, by the name of the first tensor that it spoils."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from .pairing import cell_of, pair
from .reference import normal, tensors, torch
from .trail import alike, assert_same, differences


@contextmanager
def broken(cell: nn.Cell, change: float = 0.01) -> Iterator[None]:
    """One number of a weight is wrong."""
    before = cell.weight.asnumpy().copy()
    wrong = before.copy()
    wrong.flat[7] += change
    cell.weight.set_data(ms.Tensor(wrong))
    yield
    cell.weight.set_data(ms.Tensor(before))


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("decoder.mid.attn_1.k", "decoder.mid.attn_1.k"),
        ("decoder.up.2.block.0.conv2", "decoder.up.2.block.0.conv2"),
        ("decoder.up.1.upsample.conv", "decoder.up.1.upsample.conv"),
        ("decoder.norm_out", "decoder.norm_out"),
        ("post_quant_conv", "post_quant_conv"),
    ],
)
def test_a_broken_weight_is_named(model: Any, pipe: Any, eager: None, path: str, first: str) -> None:
    part, latents = pair(model, pipe, "vae"), normal(1, 1, 4, 3, 2)
    with broken(cell_of(part.ours, path)), part.trails() as (ours, theirs), torch.no_grad():
        part.ours.decode(ms.Tensor(latents))
        part.theirs.decode(*tensors([latents]))
    with pytest.raises(AssertionError, match=rf"decoder: the first tensor that differs is {first}, by 0?\.?\d"):
        assert_same(ours, theirs, "decoder")


def test_the_first_is_named_though_another_differs_more() -> None:
    theirs = {"conv": np.ones(4, np.float32), "norm": np.full(4, 2, np.float32), "out": np.ones(4, np.float32)}
    ours = {**theirs, "norm": theirs["norm"] + np.float32(0.01), "out": theirs["out"] + 1}
    with pytest.raises(AssertionError) as error:
        assert_same(ours, theirs, "toy")
    assert "first tensor that differs is norm, by 0.01 or 0.005 of" in str(error.value)
    assert "2 of 3 differ, most out, by 1 or 1 of" in str(error.value)


def test_nothing_numeric_can_hide() -> None:
    good = {"a": np.ones((2, 2), np.float32)}
    for wrong in (np.nan, np.inf):
        with pytest.raises(AssertionError, match="a, by inf"):
            assert_same({"a": np.full((2, 2), wrong, np.float32)}, good, "toy")
    with pytest.raises(AssertionError, match=r"only on one side: \['b'\]"):
        assert_same({**good, "b": good["a"]}, good, "toy")
    with pytest.raises(AssertionError, match="shapes"):
        assert_same({"a": np.ones((2, 3), np.float32)}, good, "toy")


def test_a_keys_bias_is_measured_by_its_weight() -> None:
    theirs = {"to_k.weight": np.full(4, 10, np.float32), "to_k.bias": np.full(2, 1e-7, np.float32)}
    found = differences({**theirs, "to_k.bias": np.zeros(2, np.float32)}, theirs)
    assert [difference.relative < 1e-7 for difference in found] == [True, True]


def test_tokens_and_pictures_are_told_apart() -> None:
    picture = np.arange(24, dtype=np.float32).reshape(1, 4, 3, 2)
    tokens = picture.reshape(1, 4, 6).transpose(0, 2, 1)
    np.testing.assert_array_equal(alike(tokens, picture), picture)
    np.testing.assert_array_equal(alike(picture.reshape(1, 4, 6), picture), picture)
    with pytest.raises(AssertionError, match="cannot be told apart"):
        alike(np.zeros((1, 4, 4)), np.zeros((1, 4, 2, 2)))
