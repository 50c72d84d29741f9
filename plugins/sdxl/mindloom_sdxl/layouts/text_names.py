"""OpenCLIP's text encoder as transformers has it: query, key and value apart, and ``text_projection`` turned around.

CLIP ViT-L has the same names in both layouts. Tensors are moved, never computed with, so every bit stays.
"""

from __future__ import annotations

import re

import numpy as np

from .tensors import Lazy, Tensors

LAYERS = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}  # fmt: skip
ENDS = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
LAYERS_BACK = {new: old for old, new in LAYERS.items()}
ENDS_BACK = {new: old for old, new in ENDS.items()}
PROJECTION = "text_projection"
SCALE = "logit_scale"


def to_transformers(tensors: Tensors) -> Tensors:
    """Official names -> transformers'. ``logit_scale`` has no place there."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if name == SCALE:
            continue
        if name == PROJECTION:
            found["text_projection.weight"] = _turned(tensor)
        elif match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name):
            found |= {
                f"text_model.encoder.layers.{match[1]}.self_attn.{part}_proj.{match[2]}": _third(tensor, index)
                for index, part in enumerate("qkv")
            }
        elif match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)", name):
            found[f"text_model.encoder.layers.{match[1]}.{LAYERS.get(match[2], match[2])}.{match[3]}"] = tensor
        else:
            found[ENDS.get(name, name)] = tensor
    return found


def to_open_clip(tensors: Tensors) -> Tensors:
    """transformers' names, of any version -> official ones."""
    found: Tensors = {}
    packed: dict[str, dict[str, Lazy]] = {}
    for given, tensor in tensors.items():
        name = with_prefix(given)
        if name == "text_projection.weight":
            found[PROJECTION] = _turned(tensor)
        elif match := re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            target = f"transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"
            packed.setdefault(target, {})[match[2]] = tensor
            if len(packed[target]) == 3:
                found[target] = _joined([packed[target][part] for part in "qkv"])
        elif match := re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            found[f"transformer.resblocks.{match[1]}.{LAYERS_BACK.get(match[2], match[2])}.{match[3]}"] = tensor
        else:
            found[ENDS_BACK.get(name, name)] = tensor
    return found


def with_prefix(name: str) -> str:
    """transformers 5.6 dropped the prefix ``text_model.`` of some models."""
    return f"text_model.{name}" if name.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else name


def _turned(tensor: Lazy) -> Lazy:
    return tensor.shaped(tensor.shape[::-1], np.transpose)


def _third(tensor: Lazy, index: int) -> Lazy:
    rows = tensor.shape[0] // 3
    return tensor.shaped((rows, *tensor.shape[1:]), lambda bits: bits[index * rows : (index + 1) * rows])


def _joined(parts: list[Lazy]) -> Lazy:
    """Parts of different dtypes, which no tool writes, take the widest."""
    dtype = max((part.dtype for part in parts), key=["BF16", "F16", "F32", "F64"].index)
    cast = [part.cast(dtype) for part in parts]
    rows = sum(part.shape[0] for part in parts)
    return Lazy(dtype, (rows, *parts[0].shape[1:]), lambda: np.concatenate([part.read() for part in cast]))
