"""MindSpore's ``.ckpt``, which is protobuf: read and written without mindspore, which would hold all of it at once.

``checkpoint.proto`` of MindSpore 2.8: a file is a row of ``Value { string tag = 1; TensorProto tensor = 2; }`` under
field 1, and ``TensorProto { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }``. A large
tensor is several values of one tag that follow each other, each with the dims of the whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .safe import DamagedError, Shown, reader
from .tensors import ITEM_BYTES, Lazy, Tensors

DTYPES = {
    "Float64": "F64", "Float32": "F32", "Float16": "F16", "BFloat16": "BF16", "Int64": "I64", "Int32": "I32",
    "Int16": "I16", "Int8": "I8", "UInt64": "U64", "UInt32": "U32", "UInt16": "U16", "UInt8": "U8", "Bool": "BOOL",
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}
CHECKSUM, CHECKSUM_BYTES = b"crc_num", 17
PIECE = 1 << 29
"""Bytes of one value; protobuf messages end at 2 GB."""
LONGEST_TEXT, MOST_DIMS = 10_000, 16

Field = tuple[int, int, int]
"""Number of a field, where its content begins, and its length; of plain numbers: the number itself, and -1."""


def read(path: Path) -> Tensors:
    """The tensors of a file under their MindSpore names; texts that were saved beside them are left out.

    Raises:
        DamagedError: it is no whole MindSpore checkpoint.
    """
    pieces: dict[str, list[tuple[int, int]]] = {}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    last = ""
    with path.open("rb") as file:
        for number, begin, length in _fields(file, 0, _end(file, path.stat().st_size)):
            if number != 1 or length < 0:
                raise DamagedError("it holds something else than MindSpore's values")
            name, dtype, shape, content = _value(file, begin, begin + length)
            if name in kinds and (name != last or kinds[name] != (dtype, shape)):
                raise DamagedError(f"{name} is there twice")
            last = name
            kinds[name] = dtype, shape
            pieces.setdefault(name, []).append(content)
    found = {}
    for name, (dtype, shape) in kinds.items():
        if dtype == "str":
            continue
        if dtype not in DTYPES:
            raise DamagedError(f"{name} is of the unknown dtype {dtype!r:.20}")
        kind, held = DTYPES[dtype], sum(length for _, length in pieces[name])
        shape = () if shape == (0,) and held == ITEM_BYTES[kind] else shape
        if held != math.prod(shape) * ITEM_BYTES[kind]:
            raise DamagedError(f"{name} has {held} bytes, which is not {dtype} of shape {list(shape)}")
        found[name] = Lazy(kind, shape, reader(path, name, kind, shape, pieces[name]))
    if not found:
        raise DamagedError("it holds no tensor")
    return found


def _end(file: BinaryIO, size: int) -> int:
    """Where the values end: behind them there may be a checksum."""
    file.seek(max(0, size - CHECKSUM_BYTES))
    return size - CHECKSUM_BYTES if file.read(len(CHECKSUM)) == CHECKSUM else size


def _value(file: BinaryIO, begin: int, end: int) -> tuple[str, str, tuple[int, ...], tuple[int, int]]:
    """Name, dtype and shape of a value, and where its bytes are."""
    name, dtype, dims, content = "", "", list[int](), (begin, 0)
    for number, start, length in _fields(file, begin, end):
        if number == 1:
            name = _text(file, start, length)
        elif number == 2:
            for inner, place, size in _fields(file, start, start + length):
                if inner == 1 and size < 0:
                    dims.append(place)
                elif inner == 1:
                    dims += [at for _, at in _numbers(file, place, place + size)]
                elif inner == 2:
                    dtype = _text(file, place, size)
                elif inner == 3:
                    content = place, size
                if len(dims) > MOST_DIMS:
                    raise DamagedError(f"{name} has more than {MOST_DIMS} dimensions")
        else:
            raise DamagedError("it holds a table (MapTensor), which is no weight")
    return name, dtype, tuple(dims), content


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[Field]:
    """The fields of the message between two offsets, each checked to lie within it."""
    while begin < end:
        begin, key = _number(file, begin, end)
        begin, value = _number(file, begin, end)
        if key & 7 == 0:
            yield key >> 3, value, -1
        elif key & 7 == 2 and value <= end - begin:
            yield key >> 3, begin, value
            begin += value
        else:
            raise DamagedError("it is cut off, encrypted, or no protobuf")


def _numbers(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    while begin < end:
        begin, value = _number(file, begin, end)
        yield begin, value


def _number(file: BinaryIO, begin: int, end: int) -> tuple[int, int]:
    """A number of variable length, least significant seven bits first, and where it ends."""
    file.seek(begin)
    value = 0
    for index, byte in enumerate(file.read(min(10, end - begin))):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return begin + index + 1, value
    raise DamagedError("it is cut off, or no protobuf")


def _text(file: BinaryIO, begin: int, length: int) -> str:
    if not 0 <= length <= LONGEST_TEXT:
        raise DamagedError("it holds a name that is none")
    file.seek(begin)
    try:
        return file.read(length).decode()
    except UnicodeDecodeError:
        raise DamagedError("it holds a name that is none") from None


def write(path: Path, tensors: Mapping[str, Lazy], shown: Shown = iter) -> None:
    """Write a file that ``mindspore.load_checkpoint`` reads; it is on the disk in the end."""
    with path.open("wb") as file:
        for name, tensor in shown(tensors.items()):
            data = np.ascontiguousarray(tensor.read()).reshape(-1).view(np.uint8)
            for start in range(0, max(1, len(data)), PIECE):
                piece = data[start : start + PIECE]
                file.write(head(name, tensor, len(piece)))
                file.write(piece.data)
        file.flush()
        os.fsync(file.fileno())


def head(name: str, tensor: Lazy, length: int) -> bytes:
    """A value up to its last ``length`` bytes, which are the tensor's."""
    dims = b"".join(b"\x08" + _varint(side) for side in tensor.shape)
    inner = dims + _bytes(2, NAMES[tensor.dtype].encode()) + b"\x1a" + _varint(length)
    value = _bytes(1, name.encode()) + b"\x12" + _varint(len(inner) + length) + inner
    return b"\x0a" + _varint(len(value) + length) + value


def _bytes(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
