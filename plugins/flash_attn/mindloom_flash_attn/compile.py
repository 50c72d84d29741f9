"""The attention kernel as a shared library."""

from __future__ import annotations

from pathlib import Path

from mindloom import kernels

SOURCE = Path(__file__).parent / "kernel" / "attention.cc"
ENTRIES = ("attention_forward", "attention_backward")


def library() -> Path:
    """Return the compiled kernel, compiling it where that has not been done.

    Raises:
        KernelUnavailableError: see :func:`mindloom.kernels.library`.
    """
    return kernels.library(SOURCE, ENTRIES)
