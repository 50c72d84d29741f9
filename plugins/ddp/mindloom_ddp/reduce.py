"""The mean over processes, inside the step."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore import ops as P

mean = P.MultitypeFuncGraph("mean")


@mean.register("Number", "Function", "Tensor")
def _mean(share: float, reduce: P.AllReduce, tensor: ms.Tensor) -> ms.Tensor:
    return reduce(tensor) * share


class Mean(nn.Cell):
    """Tensors -> their means over the group, each in its own dtype.

    ``fusion`` > 0 marks the tensors as that many groups of neighbours; MindSpore joins the reductions of a group into
    one on Ascend and GPU (attribute ``fusion`` of AllReduce). The last group also has what comes after the gradients.
    """

    def __init__(self, size: int, gradients: int, fusion: int) -> None:
        super().__init__()
        self.share = 1.0 / size
        groups = [1 + place * fusion // max(1, gradients) if fusion else 0 for place in range(gradients + 1)]
        self.reduces = tuple(self.reduce(min(group, fusion)) for group in groups)
        # A loop over 1680 gradients would nest deeper than the compiler allows; a map does not.
        self.each, self.partial = P.HyperMap(), P.Partial()

    @staticmethod
    def reduce(group: int) -> P.AllReduce:
        operator = P.AllReduce()
        if group:
            operator.add_prim_attr("fusion", group)
        return operator

    def construct(self, tensors: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        return self.each(self.partial(mean, self.share), self.reduces, tensors)
