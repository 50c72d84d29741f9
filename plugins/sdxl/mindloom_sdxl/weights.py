"""SDXL's weights in and out of the model, under the names of the official single file."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import mindspore as ms
import numpy as np
from mindloom import UserError
from mindspore import nn

from .weight_files import SETTING, find_file, open_source

FILE_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}
HARMLESS_SUFFIXES = ("position_ids", "logit_scale")
HARMLESS_PREFIXES = ("model_ema.", "denoiser.", "loss.")


def load_weights(model: nn.Cell, path: Path, only: tuple[str, ...] = ("",), spare: tuple[str, ...] = ()) -> None:
    """Fill the parameters of ``model``, cast to each parameter's dtype, from a file or the only one in a folder.

    Nothing is changed before all names and shapes have been compared. Harmless extras (``position_ids``, EMA copies)
    are ignored.

    Args:
        only: beginnings of names; other parameters and other tensors of the file are left alone.
        spare: beginnings of names that the file may have and the model has not.

    Raises:
        UserError: no such file, not a weights file, or names or shapes that do not fit.
    """
    source = open_source(find_file(path))
    parameters = {name: p for name, p in model.parameters_and_names() if name.startswith(only)}
    found = {name: s for name, s in source.shapes.items() if name.startswith(only) and not name.startswith(spare)}
    compare({name: tuple(parameter.shape) for name, parameter in parameters.items()}, found, path)
    for name, parameter in parameters.items():
        array = source.read(name).astype(ms.dtype_to_nptype(parameter.dtype), copy=False)
        parameter.set_data(ms.Tensor(array))


def compare(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raise one ``UserError`` that counts and names what is missing, unexpected or of another shape."""
    missing = [f"{name} {shape}" for name, shape in wanted.items() if name not in found]
    unexpected = [f"{name} {shape}" for name, shape in found.items() if name not in wanted and not harmless(name)]
    misshapen = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    faults = [
        f"{len(names)} {kind}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if faults:
        told = "; ".join(faults)
        raise UserError(f"weights {path} do not fit the model ({told}): check plugins.sdxl.preset", SETTING)


def harmless(name: str) -> bool:
    return name.endswith(HARMLESS_SUFFIXES) or name.startswith(HARMLESS_PREFIXES)


def save_weights(model: nn.Cell, path: Path) -> None:
    """Write every parameter to one safetensors file under its name and in its dtype.

    Written tensor by tensor beside ``path`` and moved there at the end, so that a broken write leaves no broken file.
    """
    parameters = dict(model.parameters_and_names())
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, parameter in parameters.items():
        end = offset + parameter.nbytes
        dtype = FILE_TYPES[str(parameter.dtype).lower()]
        header[name] = {"dtype": dtype, "shape": list(parameter.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for parameter in parameters.values():
            file.write(np.ascontiguousarray(parameter.asnumpy()).tobytes())
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
