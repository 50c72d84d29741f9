"""A tensor that is still on the disk: its dtype and shape are known, its numbers are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mindloom import UserError

SETTING = "weight"
"""The setting that wrong weights files are blamed on."""

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8,
}  # fmt: skip
"""Bytes of one number by safetensors' name of the dtype."""

BITS: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I64": np.int64, "I32": np.int32,
    "I16": np.int16, "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip
"""What NumPy holds the bits in. It has no bfloat16, which is the upper half of a float32."""

FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Lazy:
    """A tensor of a file.

    Attributes:
        dtype: safetensors' name of it, such as ``"F16"``.
        read: gives the numbers as ``BITS[dtype]`` in ``shape``; memory is taken only here.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        return self.size * ITEM_BYTES[self.dtype]

    def shaped(self, shape: tuple[int, ...], change: Callable[[np.ndarray], np.ndarray]) -> Lazy:
        """The same bits, moved by ``change`` when they are read."""
        read = self.read
        return Lazy(self.dtype, shape, lambda: change(read()))

    def cast(self, dtype: str) -> Lazy:
        """The same tensor in another floating-point dtype; integers stay what they are."""
        if dtype == self.dtype or self.dtype not in FLOATS:
            return self
        read, before = self.read, self.dtype
        return Lazy(dtype, self.shape, lambda: cast(read(), before, dtype))

    def floats(self) -> np.ndarray:
        """Numbers that NumPy can compute with: bfloat16 as float32."""
        return widened(self.read()) if self.dtype == "BF16" else self.read()


Tensors = dict[str, Lazy]


def widened(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 as float32, exactly."""
    wide: np.ndarray = (bits.reshape(-1).astype(np.uint32) << 16).view(np.float32)
    return wide.reshape(bits.shape)


def narrowed(values: np.ndarray) -> np.ndarray:
    """float32 as the bits of bfloat16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16
    # Rounding may carry the bits of a NaN over into an infinity.
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded.astype(np.uint16)).reshape(values.shape)


def cast(bits: np.ndarray, before: str, after: str) -> np.ndarray:
    """Bits of one floating-point dtype as those of another.

    Raises:
        UserError: a number is too large for the new dtype, which would make it infinite.
    """
    values = widened(bits) if before == "BF16" else bits
    if after == "BF16":
        return narrowed(values.astype(np.float32, copy=False))
    if BITS[after]().itemsize < values.itemsize and values.size:
        largest = max(float(values.max()), -float(values.min()))  # false in every comparison if there is a NaN
        with np.errstate(over="ignore"):
            if largest < np.inf and np.isinf(BITS[after](largest)):
                raise UserError(f"weights up to {largest:.3g} do not fit into {after}: keep a wider dtype", SETTING)
    found: np.ndarray = values.astype(BITS[after])
    return found
