"""Whole models: the parts of a diffusers folder and MindSpore's own words, to and from the official names.

The official names are those of ``sd_xl_base_1.0.safetensors``. The refiner has one text encoder only, the second one of
base, in the first place.
"""

from __future__ import annotations

from collections.abc import Mapping

from .tensors import Lazy, Tensors
from .text_names import SCALE, to_open_clip, to_transformers, with_prefix
from .unet_names import UNetNames
from .vae_names import VAENames, is_projection

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP_L, OPEN_CLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
REFINER_CLIP = "conditioner.embedders.0.model."
PARTS = {
    "unet": (UNET,), "text_encoder": (CLIP_L,), "text_encoder_2": (OPEN_CLIP, REFINER_CLIP), "vae": (VAE,),
}  # fmt: skip
"""Folder in diffusers' layout -> how its official names begin."""

Model = dict[str, Tensors]
"""Folder in diffusers' layout -> its tensors under diffusers' names."""


def part_of(name: str) -> str:
    """The part that an official name belongs to, or ``""``."""
    return next((part for part, begins in PARTS.items() if name.startswith(begins)), "")


def is_refiner(names: Mapping[str, object]) -> bool:
    """Whether official names are the refiner's."""
    return any(name.startswith(REFINER_CLIP) for name in names)


def to_diffusers(tensors: Tensors) -> Model:
    """Official names -> parts. Tensors that belong to no part are left out, and so is ``logit_scale``."""
    parts: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        if part := part_of(name):
            begin = next(begin for begin in PARTS[part] if name.startswith(begin))
            parts.setdefault(part, {})[name[len(begin) :]] = tensor
    return {part: _to_diffusers(part, found) for part, found in parts.items()}


def _to_diffusers(part: str, tensors: Tensors) -> Tensors:
    if part == "unet":
        unet = UNetNames(tensors)
        return {unet.diffusers(name): tensor for name, tensor in tensors.items()}
    if part == "vae":
        vae = VAENames(tensors)
        return {vae.diffusers(name): _linear(name, tensor) for name, tensor in tensors.items()}
    return to_transformers(tensors) if part == "text_encoder_2" else dict(tensors)


def to_official(model: Model) -> Tensors:
    """Parts -> official names. ``logit_scale`` is not among them, for diffusers has none.

    Raises:
        ValueError: a name that a part of SDXL cannot have.
    """
    found: Tensors = {}
    second = UNETS_OF_REFINERS.get(_channels(model), OPEN_CLIP)
    if "text_encoder" not in model and "unet" not in model and "text_encoder_2" in model:
        second = OPEN_CLIP
    for part, tensors in model.items():
        begin = second if part == "text_encoder_2" else PARTS[part][0]
        found |= {begin + name: tensor for name, tensor in _to_official(part, tensors).items()}
    return found


UNETS_OF_REFINERS = {384: REFINER_CLIP}
"""First channels of the UNet by which a refiner is told from a base model."""


def _channels(model: Model) -> int:
    tensor = model.get("unet", {}).get("conv_in.weight")
    return tensor.shape[0] if tensor and tensor.shape else 0


def _to_official(part: str, tensors: Tensors) -> Tensors:
    if part == "unet":
        unet = UNetNames(tensors)
        return {unet.official(name): tensor for name, tensor in tensors.items()}
    if part == "vae":
        vae = VAENames(tensors)
        named = {vae.official(name): tensor for name, tensor in tensors.items()}
        return {name: _convolution(name, tensor) for name, tensor in named.items()}
    if part == "text_encoder_2":
        return to_open_clip({name: t for name, t in tensors.items() if not name.endswith("position_ids")})
    return {with_prefix(name): tensor for name, tensor in tensors.items()}


def _linear(name: str, tensor: Lazy) -> Lazy:
    if not is_projection(f".{name}") or tensor.shape[2:] != (1, 1):
        return tensor
    shape = tensor.shape[:2]
    return tensor.shaped(shape, lambda bits: bits.reshape(shape))


def _convolution(name: str, tensor: Lazy) -> Lazy:
    if not is_projection(f".{name}") or len(tensor.shape) != 2:
        return tensor
    shape = (*tensor.shape, 1, 1)
    return tensor.shaped(shape, lambda bits: bits.reshape(shape))


FROM_MINDSPORE = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
TO_MINDSPORE = {"weight": "gamma", "bias": "beta"}


def from_mindspore(tensors: Tensors) -> Tensors:
    """MindSpore's words for norm layers and embedding tables -> official names."""
    found = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        found[f"{stem}.{FROM_MINDSPORE.get(last, last)}" if stem else name] = tensor
    return found


def to_mindspore(tensors: Tensors) -> Tensors:
    """Official names -> those of the reference recipe. Norm layers are the only ones whose weight is a vector."""
    found = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        weight = tensors.get(f"{stem}.weight")
        if name.endswith("_embedding.weight"):
            name = f"{stem}.embedding_table"
        elif last in TO_MINDSPORE and weight is not None and len(weight.shape) == 1:
            name = f"{stem}.{TO_MINDSPORE[last]}"
        found[name] = tensor
    return found


__all__ = ["SCALE", "Model", "from_mindspore", "is_refiner", "part_of", "to_diffusers", "to_mindspore", "to_official"]
