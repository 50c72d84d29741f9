"""SDXL's weights in and out of the model, under the names of the official single file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindloom import UserError
from mindspore import nn

from .layouts import safe
from .layouts.fitting import Misfit, compare, harmless, nearest
from .layouts.mixing import with_vae
from .layouts.names import is_refiner, part_of
from .layouts.opening import Weights, open_weights
from .layouts.saving import replacing
from .layouts.tensors import FLOATS, SETTING, Lazy

if TYPE_CHECKING:
    from . import Sdxl

LOG = logging.getLogger("mindloom")
FILE_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}
VAE_SETTING = "plugins.sdxl.vae"


@dataclass(frozen=True)
class Leniency:
    """What may be otherwise than the file says.

    Attributes:
        strict: False lets tensors be unexpected, and missing if their names match one of ``missing``.
        missing: patterns with ``*`` and ``?``.
        vae: weights whose VAE replaces that of the file; empty for none.
    """

    strict: bool = True
    missing: tuple[str, ...] = ("*",)
    vae: str = ""

    @classmethod
    def of(cls, cfg: Sdxl.Config) -> Leniency:
        """What a config says."""
        return cls(cfg.strict, tuple(cfg.missing), cfg.vae)


def load_weights(
    model: nn.Cell,
    path: Path,
    only: tuple[str, ...] = ("",),
    spare: tuple[str, ...] = (),
    leniency: Leniency | None = None,
) -> None:
    """Fill the parameters of ``model``, cast to each parameter's dtype, from weights of any layout.

    Nothing is changed before all names and shapes have been compared, and then one tensor after the other is read:
    beside the model, memory holds the largest tensor only. Harmless extras (``position_ids``, EMA copies) are ignored.

    Args:
        only: beginnings of names; other parameters and other tensors of the file are left alone.
        spare: beginnings of names that the file may have and the model has not.
        leniency: by default everything must fit.

    Raises:
        UserError: no such file, not a weights file, or names or shapes that do not fit.
    """
    leniency = leniency or Leniency()
    weights = open_weights(path)
    tensors = with_vae(weights.tensors, leniency.vae, VAE_SETTING)
    parameters = {name: p for name, p in model.parameters_and_names() if name.startswith(only)}
    found = {name: t.shape for name, t in tensors.items() if name.startswith(only) and not name.startswith(spare)}
    misfit = compare({name: tuple(parameter.shape) for name, parameter in parameters.items()}, found)
    if misfit:
        forgive(misfit, weights, leniency)
    for name in parameters.keys() & found.keys():
        if tensors[name].dtype not in FLOATS:
            raise UserError(
                f"weights {path} hold {name} as {tensors[name].dtype}, which are no weights: give a file in F32, F16 "
                "or BF16",
                SETTING,
            )
    for name, parameter in parameters.items():
        if name in found:
            parameter.set_data(read(tensors[name], parameter.dtype))


def read(tensor: Lazy, dtype: Any) -> ms.Tensor:
    """A tensor of a file as MindSpore's, in one of MindSpore's dtypes."""
    bits = tensor.cast(FILE_TYPES[str(dtype).lower()]).read()
    return ms.Tensor(np.ascontiguousarray(bits).reshape(tensor.shape).astype(ms.dtype_to_nptype(dtype), copy=False))


def forgive(misfit: Misfit, weights: Weights, leniency: Leniency) -> None:
    """Log a misfit that is allowed.

    Raises:
        UserError: it is not.
    """
    unasked = [n for n in misfit.missing if not any(fnmatchcase(n, pattern) for pattern in leniency.missing)]
    if not leniency.strict and not misfit.misshapen and not unasked:
        LOG.warning(
            "weights %s do not fit the model wholly; missing tensors stay fresh:\n%s", weights.path, misfit.table()
        )
        return
    name, other = nearest(weights.shapes)
    if is_refiner(weights.tensors):
        raise UserError(
            f"weights {weights.path} are SDXL's refiner, which is not trained here: give those of the base model",
            SETTING,
        )
    if misfit.misshapen and name and not (other.unexpected or other.misshapen):
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in misfit.kinds)
        raise UserError(
            f"weights {weights.path} do not fit the model ({counts}): they are of preset {name}: set "
            f"plugins.sdxl.preset={name}",
            SETTING,
        )
    LOG.error("weights %s against the model:\n%s", weights.path, misfit.table())
    told = f"weights {weights.path} do not fit the model ({misfit.line()})"
    raise UserError(f"{told}: {advice(misfit, weights, leniency, unasked)}", SETTING)


def advice(misfit: Misfit, weights: Weights, leniency: Leniency, unasked: Sequence[str]) -> str:
    """What to do about weights that do not fit.

    Args:
        unasked: what is missing and may not be.
    """
    parts = {part_of(key) for key in weights.tensors} - {""}
    if misfit.misshapen:
        return "check plugins.sdxl.preset"
    if unasked and not leniency.strict:
        allowed = ", ".join(leniency.missing) or "nothing"
        return (
            f"plugins.sdxl.missing lets be missing {allowed}, which leaves out {len(unasked)} of these, such as "
            f"{unasked[0]}: add a pattern for them, or give weights that have them"
        )
    if misfit.missing and parts == {"unet"}:
        return "they hold the UNet only: complete them with mindloom weights merge PART OUT --base FULL"
    return "check plugins.sdxl.preset, or accept this with --strict false"


def save_weights(model: nn.Cell, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write every parameter to one safetensors file under its name and in its dtype.

    Written tensor by tensor beside ``path`` and moved there at the end, so that a broken write leaves no broken file.
    """
    tensors = {
        name: Lazy(FILE_TYPES[str(p.dtype).lower()], tuple(p.shape), lambda p=p: p.asnumpy())  # type: ignore[misc]
        for name, p in model.parameters_and_names()
    }
    with replacing(path) as place:
        safe.write(place, tensors, metadata or {})


__all__ = ["Leniency", "harmless", "load_weights", "save_weights"]
