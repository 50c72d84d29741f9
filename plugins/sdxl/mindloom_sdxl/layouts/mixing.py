"""Several models into one, and what lies between two: weighted averages, completion, another VAE, changes by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import UserError

from .fitting import compare, harmless
from .names import UNET, VAE
from .opening import Weights, open_weights
from .tensors import FLOATS, Lazy, Tensors, cast

Watched = Callable[[Iterable[str], int, str], Iterable[str]]
"""``(names, total, what)``: passes the names on and reports how far they are."""


def mixed(models: Sequence[Weights], shares: Sequence[float]) -> Tensors:
    """Σ shareᵢ · modelᵢ for each tensor, computed in float64, in the dtype that the first model has.

    A tensor that is the same in all models stays bit for bit what it is, if the shares sum to 1.

    Raises:
        UserError: the models' names or shapes differ.
    """
    first, *others = models
    for other in others:
        if misfit := compare(_own(first), _own(other)):
            raise UserError(
                f"{other.path} does not fit {first.path} ({misfit.line()}): only models of one kind can be mixed"
            )
    found = dict(first.tensors)
    if not others:
        return found
    for name, tensor in first.tensors.items():
        if tensor.dtype in FLOATS and all(name in other.tensors for other in others):
            found[name] = _mean([model.tensors[name] for model in models], shares)
    return found


def _own(weights: Weights) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in weights.shapes.items() if not harmless(name)}


def _mean(tensors: list[Lazy], shares: Sequence[float]) -> Lazy:
    whole, dtype = math.isclose(sum(shares), 1), tensors[0].dtype

    def read() -> np.ndarray:
        bits = tensors[0].read()
        parts = [tensor.cast(dtype).read() for tensor in tensors[1:]]
        if whole and all(np.array_equal(bits, part) for part in parts):
            return bits
        total = sum(share * tensor.floats().astype(np.float64) for share, tensor in zip(shares, tensors, strict=True))
        return cast(np.asarray(total), "F64", dtype)  # the sum of numbers without a shape is no array

    return Lazy(dtype, tensors[0].shape, read)


def completed(part: Tensors, full: Weights, path: Path) -> Tensors:
    """Take from a whole model what a part has not, such as the encoders beside a UNet that was trained alone.

    Raises:
        UserError: the part has tensors that the whole model has not, or of another shape.
    """
    found = {name: tensor.shape for name, tensor in part.items() if not harmless(name)}
    misfit = compare(full.shapes, found)
    if misfit.unexpected or misfit.misshapen:
        told = type(misfit)({}, misfit.unexpected, misfit.misshapen).line()
        raise UserError(f"{path} is no part of {full.path} ({told}): give the model that it was trained from as --base")
    return {name: part.get(name, tensor) for name, tensor in full.tensors.items()}


def with_vae(tensors: Tensors, vae: str, setting: str) -> Tensors:
    """Replace the VAE, where another one is named.

    Args:
        setting: what to blame.

    Raises:
        UserError: there is no VAE in what is named.
    """
    if not vae:
        return tensors
    found = {n: t for n, t in open_weights(Path(vae), setting).tensors.items() if n.startswith(VAE)}
    if not found:
        raise UserError(f"{vae} holds no VAE: give its .safetensors file or the folder vae/", setting)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(VAE)} | found


def block_of(name: str) -> str:
    """The block that a tensor is counted under: each numbered one of the UNet, encoders and halves of the VAE whole."""
    words = name.split(".")
    if not name.startswith(UNET):
        return ".".join(words[: 3 if name.startswith("conditioner.") else 2])
    return ".".join(words[: 4 if words[2].endswith("_blocks") else 3])


def changes(first: Weights, second: Weights, watched: Watched) -> dict[str, Any]:
    """How far B is from A by block, as JSON: the largest |a - b|, and |a - b| / |a| with norms over the block."""
    names = [name for name, t in first.tensors.items() if name in second.tensors and t.dtype in FLOATS]
    blocks: dict[str, dict[str, Any]] = {}
    for name in watched(names, len(names), "tensors compared"):
        one, other = first.tensors[name], second.tensors[name]
        if one.shape != other.shape or other.dtype not in FLOATS:
            continue
        a = one.floats().astype(np.float64, copy=False)
        gap = np.abs(a - other.floats())
        start = {"tensors": 0, "changed": 0, "max_abs": 0.0, "gap": 0.0, "norm": 0.0}
        block = blocks.setdefault(block_of(name), start)
        block["tensors"] += 1
        block["changed"] += bool(gap.any())
        block["max_abs"] = max(block["max_abs"], float(gap.max(initial=0)))
        block["gap"] += float(np.square(gap).sum())
        block["norm"] += float(np.square(a).sum())
    for block in blocks.values():
        gap, norm = math.sqrt(block.pop("gap")), math.sqrt(block.pop("norm"))
        block["relative"] = gap / norm if norm else (math.inf if gap else 0.0)
    return {
        "a": str(first.path),
        "b": str(second.path),
        "blocks": blocks,
        "differences": dict(compare(first.shapes, second.shapes).kinds),
    }
