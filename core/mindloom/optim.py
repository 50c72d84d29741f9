"""The core's optimizer, schedules and clipping: AdamW as PyTorch defines it, global-norm clipping, three schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, nn
from mindspore import ops as P
from mindspore.common.initializer import initializer

squared_sum = P.MultitypeFuncGraph("squared_sum")
scaled = P.MultitypeFuncGraph("scaled")
adamw = P.MultitypeFuncGraph("adamw")
_square, _sum, _root = P.Square(), P.ReduceSum(), P.Sqrt()
_update, _assign = P.AdamWeightDecay(), P.Assign()


@squared_sum.register("Tensor")
def _squared_sum(gradient: ms.Tensor) -> ms.Tensor:
    return _sum(_square(gradient.astype(ms.float32)))


@scaled.register("Tensor", "Tensor")
def _scaled(factor: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return gradient * factor.astype(gradient.dtype)


@adamw.register("Tensor", "Tensor", "Tensor", "Tensor", "Tensor", "Number", "Tensor", "Tensor", "Tensor", "Tensor")
def _adamw(
    rate: ms.Tensor, beta1: ms.Tensor, beta2: ms.Tensor, eps: ms.Tensor, ratio: ms.Tensor,
    decay: float, param: ms.Tensor, exp_avg: ms.Tensor, exp_avg_sq: ms.Tensor, gradient: ms.Tensor,
) -> ms.Tensor:  # fmt: skip
    if param.dtype == ms.float32:
        return _update(param, exp_avg, exp_avg_sq, rate, beta1, beta2, eps, decay * ratio, gradient.astype(ms.float32))
    # The kernel would want the gradient in float16, where a typical one of 1e-6 keeps few bits and 1e-8 none.
    gradient, weight = gradient.astype(ms.float32), param.astype(ms.float32)
    mean = _assign(exp_avg, exp_avg * beta1 + gradient * (1.0 - beta1))
    square = _assign(exp_avg_sq, exp_avg_sq * beta2 + gradient * gradient * (1.0 - beta2))
    weight = weight - rate * (mean / (_root(square) + eps) + decay * ratio * weight)
    return _assign(param, weight.astype(param.dtype))


def zeros_like(params: Sequence[Parameter], prefix: str) -> ParameterTuple:
    """State of the optimizer: float32 whatever the parameters are, drawn up only when a graph needs it."""
    return ParameterTuple(
        Parameter(initializer("zeros", param.shape, ms.float32), name=f"{prefix}.{param.name}", requires_grad=False)
        for param in params
    )


class AdamW(nn.Cell):
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) with bias correction, equal to torch.optim.AdamW.

    MindSpore's fused ``AdamWeightDecay`` kernel has no bias correction, but takes its scalars as inputs. With
    c1 = 1 - β1ᵗ and c2 = √(1 - β2ᵗ), PyTorch's update ::

        θ -= lr·wd·θ + lr/c1 · m / (√v/c2 + ε)

    is the kernel's ``θ -= lr'·(m / (√v + ε') + wd'·θ)`` with lr' = lr·c2/c1, ε' = ε·c2 and wd' = wd·c1/c2: one node for
    each parameter.

    ``construct(lr, gradients)``: lr a float32 scalar, gradients in the order of the parameters.
    """

    def __init__(
        self, params: Sequence[Parameter], betas: Sequence[float], eps: float, decays: Sequence[float]
    ) -> None:
        super().__init__()
        self.params = ParameterTuple(params)
        self.exp_avg = zeros_like(params, "exp_avg")
        self.exp_avg_sq = zeros_like(params, "exp_avg_sq")
        self.steps = Parameter(ms.Tensor(0.0, ms.float32), name="optimizer_steps", requires_grad=False)
        self.beta1, self.beta2 = (ms.Tensor(beta, ms.float32) for beta in betas)
        # The logarithms are those of the float32 values that the kernel computes with.
        self.log1, self.log2 = (float(np.log(np.float64(np.float32(beta)))) for beta in betas)
        self.eps, self.decays = eps, tuple(decays)
        self.expm1, self.sqrt, self.assign = P.Expm1(), P.Sqrt(), P.Assign()
        self.each, self.partial = P.HyperMap(), P.Partial()

    def construct(self, lr: ms.Tensor, gradients: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        steps = self.steps + 1.0
        self.assign(self.steps, steps)
        # -expm1(t·ln β) keeps every digit of 1 - βᵗ where 1 - pow(β, t) would cancel.
        c1, c2 = -self.expm1(steps * self.log1), self.sqrt(-self.expm1(steps * self.log2))
        rate, eps, ratio = lr * c2 / c1, self.eps * c2, c1 / c2
        update = self.partial(adamw, rate, self.beta1, self.beta2, eps, ratio)
        return self.each(update, self.decays, self.params, self.exp_avg, self.exp_avg_sq, gradients)


class GlobalNorm(nn.Cell):
    """√(Σ g²) over all gradients, a float32 scalar."""

    def __init__(self) -> None:
        super().__init__()
        # A map over the gradients compiles several times faster than a loop that grows a tuple.
        self.each, self.sqrt, self.add = P.HyperMap(), P.Sqrt(), P.AddN()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        return self.sqrt(self.add(self.each(squared_sum, gradients)))


class ClipByGlobalNorm(nn.Cell):
    """Scale all gradients by min(1, limit / norm) (Pascanu et al. 2013), with PyTorch's guard of 1e-6."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit, self.norm, self.minimum = limit, GlobalNorm(), P.Minimum()
        self.each, self.partial = P.HyperMap(), P.Partial()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        factor = self.minimum(self.limit / (self.norm(gradients) + 1e-6), ms.Tensor(1.0, ms.float32))
        return self.each(self.partial(scaled, factor), gradients)


def decay_of(param: Parameter, weight_decay: float, everywhere: bool) -> float:
    """Weight decay of one parameter: vectors (norms, biases) go without, unless it is wanted everywhere."""
    return weight_decay if everywhere or param.ndim > 1 else 0.0


def schedule(kind: str, peak: float, warmup: int, total: int) -> Callable[[int], float]:
    """The learning rate as a function of the optimizer steps done before.

    It rises linearly over ``warmup`` steps, the first of which already has peak/warmup, then stays (``constant``),
    falls linearly (``linear``) or as half a cosine (``cosine``), reaching 0 one step after the last.
    """

    def rate(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return peak * {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}[kind]

    return rate
