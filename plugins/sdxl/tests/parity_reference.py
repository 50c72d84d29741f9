"""What the parity tests share: weights for diffusers and transformers, and a comparison that accuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
import torch
from mindloom_sdxl.layouts.names import to_diffusers
from mindloom_sdxl.layouts.tensors import Lazy
from mindspore import nn
from mindspore import ops as P

Arrays = dict[str, np.ndarray]


def unet_arrays(arrays: Arrays) -> Arrays:
    """Official names of a UNet as diffusers has them."""
    return mapped("model.diffusion_model.", arrays)["unet"]


def vae_arrays(arrays: Arrays) -> Arrays:
    """Official names of a VAE as diffusers has them."""
    return mapped("first_stage_model.", arrays)["vae"]


def openclip_arrays(arrays: Arrays) -> Arrays:
    """Official names of the second text encoder as transformers has them."""
    return mapped("conditioner.embedders.1.model.", arrays)["text_encoder_2"]


def mapped(begin: str, arrays: Arrays) -> dict[str, Arrays]:
    """What the product makes of official names: if its map were wrong, no output could be equal."""
    tensors = {begin + name: Lazy("F32", value.shape, lambda v=value: v) for name, value in arrays.items()}
    return {part: {name: t.read() for name, t in found.items()} for part, found in to_diffusers(tensors).items()}


def arrays_of(cell: nn.Cell) -> Arrays:
    """Every parameter by its name inside ``cell``."""
    return {name: parameter.asnumpy() for name, parameter in cell.parameters_and_names()}


def load_torch(module: torch.nn.Module, arrays: Arrays) -> None:
    """Fill ``module`` with exactly ``arrays``; ``position_ids`` are counted, not learnt."""
    state = {name: torch.tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}
    report = module.load_state_dict(state, strict=False)
    assert not report.unexpected_keys, report
    assert all(name.endswith("position_ids") for name in report.missing_keys), report


class Weighed(nn.Cell):
    """Σ output · weight over all outputs: one number, whose gradient exercises every part of every output."""

    def __init__(self, net: nn.Cell, weights: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.net, self.weights, self.sum = net, tuple(ms.Tensor(w) for w in weights), P.ReduceSum()

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
        outputs, total = self.net(*inputs), 0.0
        for i in range(len(self.weights)):
            total = total + self.sum(outputs[i] * self.weights[i])
        return total, outputs


def run_mindspore(
    net: nn.Cell, inputs: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray], Arrays]:
    """Outputs, gradients of the float inputs, and gradients of all parameters by name, from one compiled graph."""
    named = dict(net.parameters_and_names())
    for name, parameter in named.items():
        parameter.name = name
    floats = tuple(i for i, value in enumerate(inputs) if value.dtype == np.float32)
    run = ms.value_and_grad(Weighed(net, weights), floats or None, list(named.values()), has_aux=True)
    (_, outputs), gradients = run(*map(ms.Tensor, inputs))
    of_inputs, of_parameters = gradients if floats else ((), gradients)
    return (
        [value.asnumpy() for value in outputs],
        [value.asnumpy() for value in (of_inputs if isinstance(of_inputs, tuple) else (of_inputs,))],
        {name: value.asnumpy() for name, value in zip(named, of_parameters, strict=True)},
    )


def run_torch(
    call: Callable[..., Sequence[torch.Tensor]],
    module: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    weights: Sequence[np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray], Arrays]:
    """The same three from PyTorch; parameters that no output depends on have gradient 0."""
    tensors = [torch.tensor(value, requires_grad=value.dtype == np.float32) for value in inputs]
    outputs = call(*tensors)
    sum((output * torch.tensor(w)).sum() for output, w in zip(outputs, weights, strict=True)).backward()
    gradients = {
        name: np.zeros(tuple(p.shape), np.float32) if p.grad is None else p.grad.numpy()
        for name, p in module.named_parameters()
    }
    return [o.detach().numpy() for o in outputs], [t.grad.numpy() for t in tensors if t.requires_grad], gradients


def ruler(name: str, arrays: Arrays) -> float:
    """The size that an error in ``name`` is measured against: the tensor's largest number.

    The gradient of a key's bias is zero by the softmax's shift invariance, so what is there is rounding; it is measured
    against the gradient of the key's weight.
    """
    if name.endswith(("k_proj.bias", "to_k.bias")):
        name = name.removesuffix("bias") + "weight"
    return max(float(np.abs(arrays[name]).max()), float(np.finfo(np.float32).tiny))


def assert_close(ours: Arrays, theirs: Arrays, what: str, limit: float = 1e-4) -> None:
    """max|ours - theirs| / max|theirs| must stay below ``limit`` for each tensor; the worst one is named."""
    assert ours.keys() == theirs.keys(), sorted(ours.keys() ^ theirs.keys())
    pairs = {name: (ours[name].shape, value.shape) for name, value in theirs.items()}
    shapes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    assert not shapes, f"{what}: shapes differ from the reference's: {shapes}"
    errors = {name: float(np.abs(ours[name] - value).max()) / ruler(name, theirs) for name, value in theirs.items()}
    worst = max(errors, key=errors.__getitem__)
    print(f"{what}: worst tensor {worst}, relative error {errors[worst]:.2e}")
    assert errors[worst] < limit, f"{what}: worst tensor {worst}, relative error {errors[worst]:.2e}"


def numbered(values: Sequence[np.ndarray]) -> Arrays:
    return {str(i): value for i, value in enumerate(values)}
