"""SDXL weights on disk: the single safetensors file under its official names, and the reference recipe's .ckpt."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import mindspore as ms
import numpy as np
from mindloom import UserError
from mindspore import nn
from safetensors import SafetensorError, safe_open

NUMPY_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
FILE_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32"}
HARMLESS_SUFFIXES = ("position_ids", "logit_scale")
HARMLESS_PREFIXES = ("model_ema.", "denoiser.", "loss.")
WANTED = "give the single file sd_xl_base_1.0.safetensors, or one with the same names"


class Source(Protocol):
    """Named tensors that can be read one at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def read(self, name: str) -> np.ndarray: ...


class SafetensorsFile:
    """Reads tensors one by one, so that a 7 GB file needs the memory of its largest tensor only.

    NumPy has no bfloat16: such tensors are widened to float32, of which they are the upper half.
    """

    def __init__(self, path: Path) -> None:
        # Opening it checks every offset against the length of the file.
        with safe_open(path, "numpy"), path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            self.entries = json.loads(file.read(length))
        self.entries.pop("__metadata__", None)
        self.path, self.start = path, 8 + length
        self.shapes = {name: tuple(entry["shape"]) for name, entry in self.entries.items()}

    def read(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        if entry["dtype"] not in NUMPY_TYPES:
            raise UserError(f"{self.path}: {name} is stored as {entry['dtype']}, not supported: save it as F16")
        begin, end = entry["data_offsets"]
        kind = np.dtype(NUMPY_TYPES[entry["dtype"]])
        array = np.fromfile(self.path, kind, (end - begin) // kind.itemsize, offset=self.start + begin)
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.reshape(entry["shape"])


class MindSporeFile:
    """The reference recipe's ``.ckpt``: MindSpore's own words for norm layers and embedding tables, same shapes."""

    RENAMED = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}  # noqa: RUF012

    def __init__(self, path: Path) -> None:
        self.parameters = {self.official(name): value for name, value in ms.load_checkpoint(str(path)).items()}
        self.shapes = {name: tuple(value.shape) for name, value in self.parameters.items()}

    def official(self, name: str) -> str:
        stem, _, last = name.rpartition(".")
        return f"{stem}.{self.RENAMED.get(last, last)}"

    def read(self, name: str) -> np.ndarray:
        return self.parameters[name].asnumpy()


def load_weights(model: nn.Cell, path: Path) -> None:
    """Fill every parameter of ``model``, cast to the parameter's dtype, from a file or the only one in a folder.

    Nothing is changed before all names and shapes have been compared. Harmless extras (``position_ids``, EMA copies)
    are ignored.

    Raises:
        UserError: no such file, not a weights file, or names or shapes that do not fit.
    """
    source = open_source(find_file(path))
    parameters = {parameter.name: parameter for parameter in model.get_parameters()}
    compare({name: tuple(parameter.shape) for name, parameter in parameters.items()}, source.shapes, path)
    for name, parameter in parameters.items():
        array = source.read(name).astype(ms.dtype_to_nptype(parameter.dtype), copy=False)
        parameter.set_data(ms.Tensor(array))


def find_file(path: Path) -> Path:
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"weights {path} do not exist: {WANTED}")
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        hint = " (this is the diffusers layout, which is not read)" if (path / "model_index.json").exists() else ""
        raise UserError(f"weights folder {path} holds {len(files)} .safetensors files{hint}: {WANTED}")
    return files[0]


def open_source(path: Path) -> Source:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04" or start[:1] == b"\x80":
        # A pickle can run any code when it is read.
        raise UserError(f"weights {path} are a PyTorch pickle, which is never loaded: {WANTED}")
    if path.suffix == ".ckpt":
        try:
            return MindSporeFile(path)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            raise UserError(f"weights {path} are not a readable MindSpore checkpoint: {WANTED}") from error
    try:
        return SafetensorsFile(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"weights {path} ({path.stat().st_size} bytes) are not a whole safetensors file ({reason}): "
            f"download the file again, or {WANTED}"
        ) from error


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
        raise UserError(f"weights {path} do not fit the model ({'; '.join(faults)}): check plugins.sdxl.preset")


def harmless(name: str) -> bool:
    return name.endswith(HARMLESS_SUFFIXES) or name.startswith(HARMLESS_PREFIXES)


def save_weights(model: nn.Cell, path: Path) -> None:
    """Write every parameter to one safetensors file under its name and in its dtype.

    Written tensor by tensor beside ``path`` and moved there at the end, so that a broken write leaves no broken file.
    """
    parameters = {parameter.name: parameter for parameter in model.get_parameters()}
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
