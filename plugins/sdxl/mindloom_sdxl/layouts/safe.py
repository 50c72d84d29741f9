"""safetensors: a header that is believed only after it was checked, tensors read one by one, files written in one go.

Format (https://github.com/huggingface/safetensors#format): the header's length as a little-endian uint64, the header as
JSON, then the tensors without gaps, little-endian and row by row.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mindloom import UserError

from .tensors import BITS, ITEM_BYTES, SETTING, Lazy, Tensors

LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library too."""

Shown = Callable[[Iterable[tuple[str, Lazy]]], Iterable[tuple[str, Lazy]]]
"""Passes tensors on and reports how far they are."""


class DamagedError(ValueError):
    """The bytes are no whole file of their format; the message says why."""


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a file and its metadata. Nothing but the header is read.

    Raises:
        DamagedError: it is no whole safetensors file.
    """
    header, start, length = _header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise DamagedError("its metadata is no object")
    found, spans = {}, []
    for name, entry in header.items():
        found[name], span = _tensor(path, name, entry, start, length)
        spans.append((*span, name))
    end = 0
    for begin, stop, name in sorted(spans):
        if begin != end:
            raise DamagedError(f"{name} begins at byte {begin} of the data, where byte {end} was due")
        end = stop
    if end != length:
        raise DamagedError(f"{length - end} bytes belong to no tensor")
    return found, {str(key): str(value) for key, value in metadata.items()}


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header as an object, where the data begin, and how many bytes they are."""
    whole = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if whole < 8 or length > whole - 8 or length > LONGEST_HEADER:
            raise DamagedError(f"it says that its header has {length} bytes" if whole >= 8 else "it has no header")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise DamagedError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise DamagedError("its header is no object")
    return header, 8 + length, whole - 8 - length


def _tensor(path: Path, name: str, entry: Any, start: int, length: int) -> tuple[Lazy, tuple[int, int]]:
    """One tensor, and its first and last byte in the data, after every number in ``entry`` has been checked."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise DamagedError(f"the header's entry of {name} is incomplete") from None
    numbers = [*shape, begin, end] if isinstance(shape, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise DamagedError(f"shape or offsets of {name} are no numbers from 0 on")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise DamagedError(f"{name} is of the unknown dtype {dtype!r:.20}")
    if not begin <= end <= length:
        raise DamagedError(f"{name} ends at byte {end}, but there are {length} bytes of data")
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise DamagedError(f"{name} has {end - begin} bytes, which is not {dtype} of shape {shape}")
    return Lazy(dtype, tuple(shape), reader(path, name, dtype, tuple(shape), [(start + begin, end - begin)])), (
        begin,
        end,
    )


def reader(
    path: Path, name: str, dtype: str, shape: tuple[int, ...], pieces: list[tuple[int, int]]
) -> Callable[[], np.ndarray]:
    """What reads a tensor whose bytes stand at ``pieces`` (offset, length) of a file."""

    def read_now() -> np.ndarray:
        if dtype not in BITS:
            raise UserError(f"{path}: {name} is {dtype}, which is not read: save the model as float16", SETTING)
        bits = np.empty(math.prod(shape), BITS[dtype])
        view, done = bits.view(np.uint8).data, 0
        with path.open("rb", buffering=0) as file:
            for offset, length in pieces:
                file.seek(offset)
                end = done + length
                while done < end:  # one call reads 2 GB at the most
                    count = file.readinto(view[done:end])
                    if not count:
                        raise UserError(f"weights {path} became shorter while {name} was read", SETTING)
                    done += count
        return bits.reshape(shape)

    return read_now


def write(path: Path, tensors: Mapping[str, Lazy], metadata: Mapping[str, str], shown: Shown = iter) -> None:
    """Write a file tensor by tensor; it is on the disk in the end. ``path`` is written to as it is: see ``saving``."""
    text, order = head(tensors, metadata)
    with path.open("wb") as file:
        file.write(text)
        for _, tensor in shown([(name, tensors[name]) for name in order]):
            file.write(np.ascontiguousarray(tensor.read()).reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def head(tensors: Mapping[str, Lazy], metadata: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """What stands before the data, and the order of the tensors in them."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **metadata}}
    # The widest dtypes come first, so that every tensor starts at a multiple of its item size.
    order = sorted(tensors, key=lambda name: -ITEM_BYTES[tensors[name].dtype])
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order
