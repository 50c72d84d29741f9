"""The kernels as a shared library."""

from __future__ import annotations

from pathlib import Path

from mindloom import kernels

SOURCE = Path(__file__).parent / "kernel" / "native.cc"
FORWARD = ("gelu", "quick_gelu", "silu", "geglu", "softmax", "layer_norm", "group_norm")
ENTRIES = (*FORWARD, *(f"{name}_backward" for name in FORWARD), "global_norm", "adamw")


def library() -> Path:
    """Return the compiled kernels, compiling them where that has not been done.

    Raises:
        KernelUnavailableError: see :func:`mindloom.kernels.library`.
    """
    return kernels.library(SOURCE, ENTRIES)
