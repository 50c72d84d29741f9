"""The seam that attention swaps claim: softmax attention over already projected heads, and nothing else.

A model computes its own projections and calls an :class:`Attention` cell between them. The cell owns no
parameters, so another implementation can take its place without touching names or weights.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore import ops as P

from .cells import Softmax


class Attention(nn.Cell):
    """softmax(q kᵀ / √head_dim) v for several heads (Vaswani et al. 2017, equation 1).

    Inputs and output are in "BSH" layout, which is what Ascend's fused kernels take too:

    - q: ``[batch, queries, heads * head_dim]``
    - k, v: ``[batch, keys, heads * head_dim]``
    - result: ``[batch, queries, heads * head_dim]``, in the dtype of q

    ``causal`` (a number of tokens, 0 for none) hides later keys from earlier queries; queries and keys then
    both have exactly that many tokens.
    """

    def __init__(self, heads: int, head_dim: int, causal: int = 0) -> None:
        super().__init__()
        self.heads, self.head_dim, self.causal = heads, head_dim, causal
        self.scale = 1.0 / math.sqrt(head_dim)
        self.reshape, self.transpose = P.Reshape(), P.Transpose()
        self.scores = P.BatchMatMul(transpose_b=True)
        self.mix = P.BatchMatMul()
        self.softmax = Softmax()
        if causal:
            # -1e4 rather than -inf: it survives float16 and never makes a row of NaN.
            self.mask = ms.Tensor(np.triu(np.full((causal, causal), -1e4, np.float32), 1))

    def split(self, x: ms.Tensor) -> ms.Tensor:
        batch, tokens, _ = x.shape
        return self.transpose(self.reshape(x, (batch, tokens, self.heads, self.head_dim)), (0, 2, 1, 3))

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        # The queries are scaled rather than the scores: fewer elements, and no float16 overflow in the product.
        scores = self.scores(self.split(q) * self.scale, self.split(k))
        if self.causal:
            scores = scores + self.mask.astype(scores.dtype)
        mixed = self.mix(self.softmax(scores), self.split(v))
        return self.reshape(self.transpose(mixed, (0, 2, 1, 3)), q.shape)
