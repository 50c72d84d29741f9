"""The kernels as a shared library."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

from mindloom import kernels

SOURCE = Path(__file__).parent / "kernel" / "native.cc"
FORWARD = ("gelu", "quick_gelu", "silu", "geglu", "softmax", "layer_norm", "group_norm")
LINEAR = ("linear", "linear_bias", "linear_inputs", "linear_weights")
CONVOLUTION = ("convolution", "convolution_inputs", "convolution_weights")
BLOCK = ("transformer_block", "transformer_block_backward")
OTHERS = ("copy", "global_norm", "adamw")
ENTRIES = (*FORWARD, *(f"{name}_backward" for name in FORWARD), *LINEAR, *CONVOLUTION, *BLOCK, *OTHERS)


def library() -> Path:
    """Return the compiled kernels, compiling them where that has not been done.

    Raises:
        KernelUnavailableError: see :func:`mindloom.kernels.library`.
    """
    return kernels.library(SOURCE, ENTRIES)


def has_products() -> bool:
    """Load the library that multiplies matrices, MindSpore's own copy of oneDNN, and say whether there is one."""
    spec = find_spec("mindspore")
    if spec is None or spec.origin is None:
        return False
    try:
        loaded = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libdnnl.so.2"))
    except OSError:
        return False
    return hasattr(loaded, "dnnl_sgemm")
