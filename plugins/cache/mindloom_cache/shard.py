"""One file of results: safetensors, each entry's arrays side by side, with a hash for each entry in the metadata."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "mindloom-cache-1"
SUFFIX, PART = ".safetensors", ".part"
LONGEST_HEADER = 1 << 27
DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1"}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

Arrays = Mapping[str, np.ndarray]
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, NumPy dtype and shape of every array of an entry, in the order of their bytes."""


class DamagedError(Exception):
    """A file is not what was written; the message says why."""


@dataclass(frozen=True)
class Entry:
    """Where one result lies.

    Attributes:
        key: 32 bytes.
        start: its first byte in the file.
        digest: SHA-256 of key, layout and bytes.
    """

    key: bytes
    start: int
    layout: Layout
    digest: bytes


def size_of(layout: Layout) -> int:
    """Bytes of an entry."""
    return sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for _, dtype, shape in layout)


def digest_of(key: bytes, layout: Layout, data: bytes) -> bytes:
    """Hash an entry with what says how to read it."""
    return hashlib.sha256(key + repr(layout).encode() + data).digest()


def write(path: Path, entries: Sequence[tuple[bytes, Arrays]]) -> None:
    """Write a file that is either there, complete and on the disk, or not there.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    header: dict[str, Any] = {"__metadata__": {}}
    digests: dict[str, str] = {}
    chunks: list[bytes] = []
    offset = 0
    for key, arrays in entries:
        layout: Layout = tuple((name, array.dtype.str, array.shape) for name, array in arrays.items())
        for name, dtype, shape in layout:
            end = offset + size_of(((name, dtype, shape),))
            header[f"{key.hex()}/{name}"] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [offset, end]}
            offset = end
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
        digests[key.hex()] = digest_of(key, layout, data).hex()
        chunks.append(data)
    header["__metadata__"] = {"format": FORMAT, "sha256": json.dumps(digests)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(path.name + PART)
    with open(part, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def entries(path: Path) -> list[Entry]:
    """List the entries of a file, whose own bytes are not looked at.

    Raises:
        DamagedError: the file is cut short or is not one of these.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, LONGEST_HEADER):
                raise DamagedError(f"its header would have {length} bytes")
            found = list(_parse(json.loads(file.read(length)), 8 + length))
        except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"its header cannot be read: {type(error).__name__}") from error
    end = found[-1].start + size_of(found[-1].layout) if found else 8 + length
    if end != size:
        raise DamagedError(f"it has {size} bytes instead of {end}")
    return found


def _parse(header: dict[str, Any], start: int) -> Iterator[Entry]:
    about = header.pop("__metadata__")
    if about["format"] != FORMAT:
        raise ValueError("another format")
    digests = json.loads(about["sha256"])
    layouts: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {key: [] for key in digests}
    for path, tensor in header.items():
        key, _, name = path.partition("/")
        layouts[key].append((name, DTYPES[tensor["dtype"]], tuple(map(int, tensor["shape"]))))
    for key, layout in layouts.items():
        yield Entry(bytes.fromhex(key), start, tuple(layout), bytes.fromhex(digests[key]))
        start += size_of(tuple(layout))


def read(path: Path, start: int, key: bytes, layout: Layout, digest: bytes) -> dict[str, np.ndarray]:
    """Read one entry and compare its hash. The arrays cannot be written to.

    Raises:
        DamagedError: the bytes are not those that were written.
        OSError: the file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), size_of(layout), start)
    if digest_of(key, layout, data) != digest:
        raise DamagedError(f"the entry at byte {start} does not have its hash")
    arrays, offset = {}, 0
    for name, dtype, shape in layout:
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, dtype, count, offset).reshape(shape)
        offset += arrays[name].nbytes
    return arrays
