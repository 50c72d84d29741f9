"""What the parity tests share: official names as diffusers and transformers say them, and a comparison that accuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
import torch
from mindspore import nn
from mindspore import ops as P

Arrays = dict[str, np.ndarray]

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}  # fmt: skip
VAE_PARTS = {
    "mid.block_1": "mid_block.resnets.0", "mid.block_2": "mid_block.resnets.1", "mid.attn_1": "mid_block.attentions.0",
    "norm_out": "conv_norm_out", "nin_shortcut": "conv_shortcut",
}  # fmt: skip
VAE_ATTENTION = {"norm.": "group_norm.", "q.": "to_q.", "k.": "to_k.", "v.": "to_v.", "proj_out.": "to_out.0."}
OPENCLIP = {
    "token_embedding": "embeddings.token_embedding", "positional_embedding": "embeddings.position_embedding.weight",
    "transformer.resblocks": "encoder.layers", "ln_final": "final_layer_norm", "ln_1": "layer_norm1",
    "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.": "self_attn.",
}  # fmt: skip


def renamed(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def unet_name(name: str, res_blocks: int) -> str:
    """openaimodel numbers its blocks in one row; diffusers names level, kind and place in the level."""
    for old, new in UNET_ENDS.items():
        if name.startswith(old + "."):
            return name.replace(old, new, 1)
    arm, _, rest = name.partition(".")
    block, layer, rest = ("0", *rest.split(".", 1)) if arm == "middle_block" else rest.split(".", 2)
    rest = renamed(rest, RESNET)
    if arm == "middle_block":
        place = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}[layer]
        return f"mid_block.{place}.{rest}"
    index = int(block) - (arm == "input_blocks")
    level, i = divmod(index, res_blocks + 1)
    if rest.startswith("op."):
        return f"down_blocks.{level}.downsamplers.0.conv.{rest[3:]}"
    if rest.startswith("conv."):
        return f"up_blocks.{level}.upsamplers.0.{rest}"
    side = "down" if arm == "input_blocks" else "up"
    return f"{side}_blocks.{level}.{'resnets' if layer == '0' else 'attentions'}.{i}.{rest}"


def unet_arrays(arrays: Arrays, res_blocks: int) -> Arrays:
    return {unet_name(name, res_blocks): value for name, value in arrays.items()}


def vae_arrays(arrays: Arrays, levels: int) -> Arrays:
    """diffusers counts the decoder's levels from the coarsest, and has linear layers in the attention."""
    found = {}
    for name, value in arrays.items():
        head, attention, tail = name.partition("attn_1.")
        name = head + attention + (renamed(tail, VAE_ATTENTION) if attention else "")
        name = re.sub(r"\bup\.(\d+)", lambda m: f"up_blocks.{levels - 1 - int(m[1])}", name)
        name = re.sub(r"\bdown\.(\d+)", r"down_blocks.\1", name)
        name = re.sub(r"\.block\.(\d+)", r".resnets.\1", name)
        name = re.sub(r"\.(up|down)sample\.", r".\1samplers.0.", name)
        found[renamed(name, VAE_PARTS)] = value[..., 0, 0] if attention and value.ndim == 4 else value
    return found


def openclip_arrays(arrays: Arrays) -> Arrays:
    """transformers splits the packed projection and turns ``text_projection`` around; it has no ``logit_scale``."""
    found = {}
    for name, value in arrays.items():
        if name == "logit_scale":
            continue
        if name == "text_projection":
            found["text_projection.weight"] = value.T
        elif match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name):
            for part, third in zip("qkv", np.split(value, 3), strict=True):
                found[f"text_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}"] = third
        else:
            found["text_model." + renamed(name, OPENCLIP)] = value
    return found


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
