"""Outputs and every gradient of a network on either side, for one weighted sum of all its outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P

from .pairing import Part
from .reference import Arrays, torch
from .trail import GRADIENTS_CLOSE, assert_same

Found = tuple[list[np.ndarray], list[np.ndarray], Arrays]
"""Outputs, gradients of the float inputs, and gradients of the parameters by name."""


class Weighed(nn.Cell):
    """Σ output · weight over all outputs: one number, whose gradient exercises every part of every output."""

    def __init__(self, net: nn.Cell, weights: Sequence[np.ndarray]) -> None:
        super().__init__(auto_prefix=False)
        self.net, self.weights, self.sum = net, tuple(ms.Tensor(w) for w in weights), P.ReduceSum()

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
        outputs, total = self.net(*inputs), 0.0
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        for i in range(len(self.weights)):
            total = total + self.sum(outputs[i] * self.weights[i])
        return total, outputs


def run_mindspore(net: nn.Cell, owner: nn.Cell, inputs: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> Found:
    """Run ``net``, in whichever mode is set; parameters are named by their places in ``owner``."""
    named = dict(owner.parameters_and_names())
    floats = tuple(i for i, value in enumerate(inputs) if value.dtype == np.float32)
    run = ms.value_and_grad(Weighed(net, weights), floats or None, list(named.values()), has_aux=True)
    frozen = [parameter for parameter in named.values() if not parameter.requires_grad]
    for parameter in frozen:  # in PyNative mode its gradient would be 0, asked for or not
        parameter.requires_grad = True
    (_, outputs), gradients = run(*map(ms.Tensor, inputs))
    for parameter in frozen:
        parameter.requires_grad = False
    of_inputs, of_parameters = gradients if floats else ((), gradients)
    return (
        [value.asnumpy() for value in outputs],
        [value.asnumpy() for value in (of_inputs if isinstance(of_inputs, tuple) else (of_inputs,))],
        {name: value.asnumpy() for name, value in zip(named, of_parameters, strict=True)},
    )


def run_torch(
    call: Callable[..., Sequence[Any]], module: Any, inputs: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> Found:
    """The same three from PyTorch; parameters that no output depends on have gradient 0."""
    given = [torch.tensor(value, requires_grad=value.dtype == np.float32) for value in inputs]
    outputs = call(*given)
    module.zero_grad()
    sum((output * torch.tensor(w)).sum() for output, w in zip(outputs, weights, strict=True)).backward()
    gradients = {
        name: np.zeros(tuple(p.shape), np.float32) if p.grad is None else p.grad.numpy().copy()
        for name, p in module.named_parameters()
    }
    module.zero_grad()
    return [o.detach().numpy() for o in outputs], [t.grad.numpy() for t in given if t.requires_grad], gradients


def assert_same_gradients(
    part: Part,
    net: nn.Cell,
    call: Callable[..., Sequence[Any]],
    inputs: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
) -> None:
    """Compare outputs, then gradients from the last parameter to the first, as they are computed, then of inputs."""
    outputs, of_inputs, of_parameters = run_mindspore(net, part.ours, inputs, weights)
    expected, of_inputs_expected, of_parameters_expected = run_torch(call, part.theirs, inputs, weights)
    assert_same(numbered("output", outputs), numbered("output", expected), f"{part.name}: outputs")
    backwards = dict(reversed(part.renamed(of_parameters).items()))
    assert_same(backwards, of_parameters_expected, f"{part.name}: gradients of parameters", GRADIENTS_CLOSE)
    if of_inputs:
        ours, theirs = numbered("input", of_inputs), numbered("input", of_inputs_expected)
        assert_same(ours, theirs, f"{part.name}: gradients of inputs", GRADIENTS_CLOSE)


def numbered(what: str, values: Sequence[np.ndarray]) -> Arrays:
    """By name."""
    return {f"{what} {i}": value for i, value in enumerate(values)}
