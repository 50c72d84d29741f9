"""Attention in chunks of queries, from MindSpore's own operations: for where there is no compiled kernel."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindloom.attention import Attention
from mindspore import nn
from mindspore import ops as P

CHUNK = 512
"""Queries at a time: as many as keep the number of graph nodes small, yet few beside the thousands of a large image."""


class ChunkedAttention(nn.Cell):
    """:class:`mindloom.attention.Attention` that holds the scores of ``CHUNK`` queries at a time.

    Its own gradient computes them again, so that none are kept from the forward pass.
    """

    def __init__(self, heads: int, head_dim: int, causal: int) -> None:
        super().__init__()
        self.heads, self.head_dim, self.causal = heads, head_dim, causal
        self.scale = 1.0 / float(np.sqrt(head_dim))
        self.reshape, self.transpose = P.Reshape(), P.Transpose()
        self.matmul, self.matmul_bt = P.BatchMatMul(), P.BatchMatMul(transpose_b=True)
        self.matmul_at = P.BatchMatMul(transpose_a=True)
        self.softmax, self.sum, self.join = P.Softmax(-1), P.ReduceSum(keep_dims=True), P.Concat(2)
        self.depend, self.hidden = P.Depend(), P.Less()
        self.positions = ms.Tensor(np.arange(max(causal, 1), dtype=np.float32))

    @classmethod
    def like(cls, cell: Attention) -> ChunkedAttention:
        """Take the place of a cell."""
        return cls(cell.heads, cell.head_dim, cell.causal)

    def split(self, x: ms.Tensor) -> ms.Tensor:
        batch, tokens, _ = x.shape
        return self.transpose(self.reshape(x, (batch, tokens, self.heads, self.head_dim)), (0, 2, 1, 3))

    def merge(self, x: ms.Tensor, shape: tuple[int, ...]) -> ms.Tensor:
        return self.reshape(self.transpose(x, (0, 2, 1, 3)), shape)

    def weights(self, q: ms.Tensor, k: ms.Tensor, start: int) -> ms.Tensor:
        """Softmax of one chunk: ``[batch, heads, chunk, keys]``."""
        scores = self.matmul_bt(q, k)
        if self.causal:
            rows = self.reshape(self.positions[start : start + q.shape[2]], (-1, 1))
            scores = scores + self.hidden(rows, self.positions).astype(scores.dtype) * -1e4
        return self.softmax(scores)

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        keys, values = self.split(k), self.split(v)
        queries = self.split(q) * self.scale
        done: tuple[ms.Tensor, ...] = ()
        for start in range(0, q.shape[1], CHUNK):
            chunk = queries[:, :, start : start + CHUNK]
            if start:
                # One after the other: chunks that run side by side would hold all of the scores after all.
                chunk = self.depend(chunk, done[-1])
            done = (*done, self.matmul(self.weights(chunk, keys, start), values))
        return self.merge(self.join(done), q.shape)

    def bprop(
        self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, out: ms.Tensor, dout: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        keys, values, grads = self.split(k), self.split(v), self.split(dout)
        queries = self.split(q) * self.scale
        # The softmax's gradient needs the sum of weights * dweights over keys, which is this much smaller one.
        delta = self.sum(grads * self.split(out), -1)
        done: tuple[ms.Tensor, ...] = ()
        dk, dv = P.zeros_like(keys), P.zeros_like(values)
        for start in range(0, q.shape[1], CHUNK):
            chunk, grad = queries[:, :, start : start + CHUNK], grads[:, :, start : start + CHUNK]
            if start:
                chunk = self.depend(chunk, done[-1])
            weights = self.weights(chunk, keys, start)
            dv = dv + self.matmul_at(weights, grad)
            dscores = weights * (self.matmul_bt(grad, values) - delta[:, :, start : start + CHUNK])
            dk = dk + self.matmul_at(dscores, chunk)
            done = (*done, self.matmul(dscores, keys) * self.scale)
        return self.merge(self.join(done), q.shape), self.merge(dk, k.shape), self.merge(dv, v.shape)
