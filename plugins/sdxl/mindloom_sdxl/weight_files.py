"""Files that hold SDXL's weights, read one tensor at a time: safetensors, and the reference recipe's .ckpt."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import mindspore as ms
import numpy as np
from mindloom import UserError
from safetensors import SafetensorError, safe_open

NUMPY_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
SETTING = "weight"
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
            raise UserError(f"{self.path}: {name} is {entry['dtype']}, not supported: save it as F16", SETTING)
        begin, end = entry["data_offsets"]
        kind = np.dtype(NUMPY_TYPES[entry["dtype"]])
        array = np.fromfile(self.path, kind, (end - begin) // kind.itemsize, offset=self.start + begin)
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.reshape(entry["shape"])


class MindSporeFile:
    """The reference recipe's ``.ckpt``: MindSpore's own words for norm layers and embedding tables, same shapes."""

    RENAMED: ClassVar = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}

    def __init__(self, path: Path) -> None:
        self.parameters = {self.official(name): value for name, value in ms.load_checkpoint(str(path)).items()}
        self.shapes = {name: tuple(value.shape) for name, value in self.parameters.items()}

    def official(self, name: str) -> str:
        stem, _, last = name.rpartition(".")
        return f"{stem}.{self.RENAMED.get(last, last)}"

    def read(self, name: str) -> np.ndarray:
        return self.parameters[name].asnumpy()


def find_file(path: Path) -> Path:
    """The path itself, or the only safetensors file in that folder."""
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"weights {path} do not exist: {WANTED}", SETTING)
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        hint = " (this is the diffusers layout, which is not read)" if (path / "model_index.json").exists() else ""
        raise UserError(f"weights folder {path} holds {len(files)} .safetensors files{hint}: {WANTED}", SETTING)
    return files[0]


def open_source(path: Path) -> Source:
    """Open what its content says it is.

    Raises:
        UserError: not a whole weights file, or a pickle.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04" or start[:1] == b"\x80":
        # A pickle can run any code when it is read.
        raise UserError(f"weights {path} are a PyTorch pickle, which is never loaded: {WANTED}", SETTING)
    if path.suffix == ".ckpt":
        try:
            return MindSporeFile(path)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            raise UserError(f"weights {path} are not a readable MindSpore checkpoint: {WANTED}", SETTING) from error
    try:
        return SafetensorsFile(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"weights {path} ({path.stat().st_size} bytes) are not a whole safetensors file ({reason}): "
            f"download the file again, or {WANTED}",
            SETTING,
        ) from error
