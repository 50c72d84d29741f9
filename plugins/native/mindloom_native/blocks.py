"""Whole transformer blocks in one node forward and one backward."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mindspore as ms
from mindloom import cells
from mindloom.attention import Attention
from mindloom.transformer import GEGLU, CrossAttention, FeedForward, TransformerBlock
from mindspore import nn
from mindspore import ops as P

from .operators import copy, linear_inputs, settings, two

Shape = tuple[int, ...]
WEIGHTS = 20
"""Parameters of a block."""
PARTS = (TransformerBlock, CrossAttention, FeedForward, GEGLU, Attention, nn.SequentialCell, nn.Identity)
LAYERS = (cells.Dense, cells.Affine, cells.LayerNorm, cells.GEGLU, cells.Softmax)
"""What a block is made of, and nothing derived from it: the kernel knows no other cells."""


def _all_like(x: Any, *others: Any) -> tuple[Any, ...]:
    return (x,) * (3 + WEIGHTS)


def _gradients(x: Shape, context: Shape, *others: Shape) -> tuple[Shape, ...]:
    text = (*context[:2], x[2])
    return (x, text, text, *others[:WEIGHTS])


@functools.cache
def operator(library: Path, head_dim: int) -> P.Custom:
    """``(x, context, the parameters, settings [threads, eps, head_dim]) -> (y, kept)``; see kernel/transformer.h.

    The context's own gradient is made apart, so that the compiler drops it where nobody asks.
    """

    def shapes(x: Shape, context: Shape, *others: Shape) -> tuple[Shape, Shape]:
        rows, texts, width = x[0] * x[1], context[0] * context[1], x[2]
        return x, (rows * (6 + 2 * (width // head_dim) + 16 * width) + 2 * texts * width,)

    backward = P.Custom(f"{library}:transformer_block_backward", _gradients, _all_like, "aot")
    product, zeros = linear_inputs(library), P.ZerosLike()

    def bprop(  # type: ignore[no-untyped-def]
        x, context, n1, s1, q1, k1, v1, o1, b1, n2, s2, q2, k2, v2, o2, b2, n3, s3, w3, wb, d3, db, settings, out, grads
    ):
        found = backward(
            *(x, context, n1, s1, q1, k1, v1, o1, b1, n2, s2, q2, k2, v2, o2, b2, n3, s3, w3, wb, d3, db),
            *(settings, out[1], grads[0]),
        )
        dcontext = product(found[1], k2, settings) + product(found[2], v2, settings)
        return (found[0], dcontext, *found[3:], zeros(settings))

    return P.Custom(f"{library}:transformer_block", shapes, two, "aot", bprop=bprop)


def fits(block: TransformerBlock) -> bool:
    """Whether the kernel computes what this block does: nobody has put other cells into it, its norms share one eps."""
    known = all(type(cell) in (*PARTS, *LAYERS) for _, cell in block.cells_and_names())
    return known and block.norm1.eps == block.norm2.eps == block.norm3.eps


def _weights(block: TransformerBlock) -> list[ms.Parameter]:
    """The parameters in the order of ``enum Weights`` in kernel/transformer.h."""
    found = []
    for norm, attention in ((block.norm1, block.attn1), (block.norm2, block.attn2)):
        out = attention.to_out[0]
        found += [norm.weight, norm.bias, attention.to_q.weight, attention.to_k.weight, attention.to_v.weight]
        found += [out.weight, out.bias]
    wide, narrow = block.ff.net[0].proj, block.ff.net[2]
    return [*found, block.norm3.weight, block.norm3.bias, wide.weight, wide.bias, narrow.weight, narrow.bias]


class NativeTransformerBlock(TransformerBlock):
    """:class:`mindloom.transformer.TransformerBlock` for float32; the block's own cells do other dtypes."""

    def __init__(self, plain: TransformerBlock, library: Path) -> None:
        nn.Cell.__init__(self)
        for name, cell in plain.name_cells().items():
            setattr(self, name, cell)
        # Past the cell's own bookkeeping, for their places are in the cells below. Those need not be parsed then.
        object.__setattr__(self, "weights", ms.ParameterTuple(_weights(plain)))
        head_dim = self.attn1.attention.head_dim
        self.operator, self.settings = operator(library, head_dim), settings(self.norm1.eps, head_dim)
        self.copy, self.again = copy(library), False

    def recompute(self, **options: Any) -> None:
        """Let MindSpore compute the block again: never the nodes of a result, so the result becomes a copy's."""
        super().recompute(**options)
        self.again = True

    def construct(self, x: ms.Tensor, context: ms.Tensor) -> ms.Tensor:
        norm, narrow = self.weights[0], self.weights[-1]  # a precision may keep norms in float32, and only those
        if (x.dtype, context.dtype, norm.dtype, narrow.dtype) != (ms.float32,) * 4:
            return super().construct(x, context)
        y, _ = self.operator(x, context, *self.weights, self.settings)
        return self.copy(y) if self.again else y
