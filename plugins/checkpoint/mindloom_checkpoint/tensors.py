"""Arrays to a safetensors file and back.

The library's own writer copies all tensors before it writes the first byte, 20 GB more for the optimizer state of SDXL;
this one streams them, and hashes on the way. Reading is the library's.

Format (https://github.com/huggingface/safetensors#format): the header's length as a little-endian uint64, the header as
JSON padded with spaces to a multiple of 8 bytes, then the tensors without gaps, little-endian and row by row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import TrainingError
from mindloom.checkpoint import Arrays
from safetensors import SafetensorError
from safetensors.numpy import load_file

from .durable import new_file

DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
"""NumPy's name of a dtype -> safetensors'."""


def write(path: Path, arrays: Arrays) -> dict[str, Any]:
    """Write arrays of any shape, 0-dimensional and empty ones too, and return the file's receipt.

    Raises:
        TrainingError: an array's dtype has no place in the format.
    """
    # The widest dtypes come first, so that every tensor starts at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        array = arrays[name]
        if array.dtype.name not in DTYPES:
            raise TrainingError(f"not saved: {name} is of dtype {array.dtype}, which safetensors cannot hold")
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with new_file(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(_bytes(arrays[name]))
    return file.receipt()


def _bytes(array: np.ndarray) -> np.ndarray:
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8)


def read(path: Path) -> Arrays:
    """Read all arrays of a file.

    Raises:
        ValueError: it is no safetensors file.
    """
    try:
        arrays: Arrays = load_file(path)
        return arrays
    except SafetensorError as error:
        raise ValueError(str(error)) from error
