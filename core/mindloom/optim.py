"""The core's optimizer, schedules and clipping: AdamW as PyTorch defines it, global-norm clipping, three schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, nn
from mindspore import ops as P


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
        self.exp_avg = self.params.clone(prefix="exp_avg", init="zeros")
        self.exp_avg_sq = self.params.clone(prefix="exp_avg_sq", init="zeros")
        self.steps = Parameter(ms.Tensor(0.0, ms.float32), name="optimizer_steps", requires_grad=False)
        self.beta1, self.beta2 = (ms.Tensor(beta, ms.float32) for beta in betas)
        # The logarithms are those of the float32 values that the kernel computes with.
        self.log1, self.log2 = (float(np.log(np.float64(np.float32(beta)))) for beta in betas)
        self.eps, self.decays = eps, tuple(decays)
        self.update, self.expm1, self.sqrt, self.assign = P.AdamWeightDecay(), P.Expm1(), P.Sqrt(), P.Assign()

    def construct(self, lr: ms.Tensor, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        steps = self.steps + 1.0
        self.assign(self.steps, steps)
        # -expm1(t·ln β) keeps every digit of 1 - βᵗ where 1 - pow(β, t) would cancel.
        c1, c2 = -self.expm1(steps * self.log1), self.sqrt(-self.expm1(steps * self.log2))
        rate, eps, ratio = lr * c2 / c1, self.eps * c2, c1 / c2
        for i in range(len(self.params)):
            self.update(
                self.params[i], self.exp_avg[i], self.exp_avg_sq[i],
                rate, self.beta1, self.beta2, eps, self.decays[i] * ratio, gradients[i],
            )  # fmt: skip
        return steps


class GlobalNorm(nn.Cell):
    """√(Σ g²) over all gradients, a float32 scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.square, self.sum, self.sqrt, self.add = P.Square(), P.ReduceSum(), P.Sqrt(), P.AddN()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> ms.Tensor:
        squares: tuple[ms.Tensor, ...] = ()
        for gradient in gradients:
            squares = (*squares, self.sum(self.square(gradient.astype(ms.float32))))
        return self.sqrt(self.add(squares))


class ClipByGlobalNorm(nn.Cell):
    """Scale all gradients by min(1, limit / norm) (Pascanu et al. 2013), with PyTorch's guard of 1e-6."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit, self.norm, self.minimum = limit, GlobalNorm(), P.Minimum()

    def construct(self, gradients: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        factor = self.minimum(self.limit / (self.norm(gradients) + 1e-6), ms.Tensor(1.0, ms.float32))
        clipped: tuple[ms.Tensor, ...] = ()
        for gradient in gradients:
            clipped = (*clipped, gradient * factor.astype(gradient.dtype))
        return clipped


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
