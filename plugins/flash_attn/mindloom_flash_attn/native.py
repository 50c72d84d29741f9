"""Attention on the CPU through the compiled kernel."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindloom.attention import Attention
from mindloom.kernels import threads
from mindspore import nn
from mindspore import ops as P

Shape = tuple[int, ...]


def _grad_shapes(q: Shape, k: Shape, v: Shape, *others: Shape) -> tuple[Shape, Shape, Shape]:
    return q, k, v


def _grad_dtypes(q: Any, k: Any, v: Any, *others: Any) -> tuple[Any, Any, Any]:
    return q, k, v


def _dtypes(q: Any, k: Any, v: Any, settings: Any) -> tuple[Any, Any]:
    return q, ms.float32


@functools.cache
def operator(library: Path, heads: int) -> P.Custom:
    """The operator ``(q, k, v, settings) -> (out, lse)`` with its gradient; see the end of ``kernel/attention.cc``."""

    def shapes(q: Shape, k: Shape, v: Shape, settings: Shape) -> tuple[Shape, Shape]:
        return q, (q[0], heads, q[1])

    backward = P.Custom(f"{library}:attention_backward", _grad_shapes, _grad_dtypes, "aot")
    zeros = P.ZerosLike()

    def bprop(q, k, v, settings, outputs, grads):  # type: ignore[no-untyped-def]
        dq, dk, dv = backward(q, k, v, settings, outputs[0], outputs[1], grads[0])
        return dq, dk, dv, zeros(settings)

    return P.Custom(f"{library}:attention_forward", shapes, _dtypes, "aot", bprop=bprop)


class NativeAttention(nn.Cell):
    """:class:`mindloom.attention.Attention` with memory linear in the tokens, for float32 and float16.

    Forward keeps the result and one float32 for each query and head; the gradient computes the scores again from it.
    """

    def __init__(self, heads: int, head_dim: int, causal: int, library: Path) -> None:
        super().__init__()
        self.heads, self.head_dim, self.causal = heads, head_dim, causal
        self.settings = ms.Tensor(np.array([heads, causal, threads()], np.int32))
        self.attend = operator(library, heads)

    @classmethod
    def like(cls, cell: Attention, library: Path) -> NativeAttention:
        """Take the place of a cell."""
        return cls(cell.heads, cell.head_dim, cell.causal, library)

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        out, _ = self.attend(q, k, v, self.settings)
        return out
