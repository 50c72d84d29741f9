"""The optimizer, clipping and schedules: equal to PyTorch's, and right at the corners."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mindspore as ms
import numpy as np
import pytest
from mindloom.optim import AdamW, ClipByGlobalNorm, GlobalNorm, decay_of, schedule
from mindspore import Parameter, nn

SHAPES = {"dense.weight": (7, 5), "dense.bias": (7,), "norm.weight": (5,), "conv.weight": (3, 2, 3, 3)}
RATES = [1e-2 * (1 + math.sin(step)) + 1e-3 for step in range(20)]


def arrays(seed: int, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(shape)).astype(np.float32) for shape in SHAPES.values()]


def parameters() -> list[Parameter]:
    return [Parameter(ms.Tensor(a), name=name) for name, a in zip(SHAPES, arrays(0), strict=True)]


class Apply(nn.Cell):
    """Spreads gradients over arguments: MindSpore takes the tensors of a tuple argument for constants."""

    def __init__(self, inner: nn.Cell) -> None:
        super().__init__()
        self.inner = inner

    def construct(self, lr: ms.Tensor, *gradients: ms.Tensor) -> ms.Tensor:
        return self.inner(lr, gradients)


def tensors(values: Sequence[np.ndarray]) -> tuple[ms.Tensor, ...]:
    return tuple(ms.Tensor(value) for value in values)


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@pytest.mark.parametrize(
    ("mode", "everywhere", "betas", "eps", "scale"),
    [
        (ms.GRAPH_MODE, False, (0.9, 0.999), 1e-8, 1.0),
        (ms.GRAPH_MODE, True, (0.5, 0.95), 1e-3, 1e-3),
        (ms.PYNATIVE_MODE, False, (0.9, 0.95), 1e-6, 1e3),
    ],
)
def test_twenty_steps_equal_torch_adamw(
    mode: int, everywhere: bool, betas: tuple[float, float], eps: float, scale: float
) -> None:
    torch = pytest.importorskip("torch")
    ms.set_context(mode=mode)
    ours = parameters()
    optimizer = Apply(AdamW(ours, betas, eps, [decay_of(param, 0.1, everywhere) for param in ours]))
    theirs = [torch.nn.Parameter(torch.tensor(array)) for array in arrays(0)]
    groups = [{"params": [p], "weight_decay": 0.1 if everywhere or p.ndim > 1 else 0.0} for p in theirs]
    reference = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=eps)
    for step, rate in enumerate(RATES):
        gradients = arrays(100 + step, scale)
        optimizer(ms.Tensor(rate, ms.float32), *tensors(gradients))
        for param, gradient in zip(theirs, gradients, strict=True):
            param.grad = torch.tensor(gradient)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
    for our, their in zip(ours, theirs, strict=True):
        assert relative(our.asnumpy(), their.detach().numpy()) < 1e-6, our.name
    ms.set_context(mode=ms.GRAPH_MODE)


def test_the_first_step_is_bias_corrected() -> None:
    params = parameters()
    AdamW(params, (0.9, 0.999), 1e-12, [0.0] * len(params))(ms.Tensor(0.5, ms.float32), tensors(arrays(1)))
    for param, before, gradient in zip(params, arrays(0), arrays(1), strict=True):
        np.testing.assert_allclose(param.asnumpy(), before - 0.5 * np.sign(gradient), rtol=1e-5, atol=1e-5)


def test_bias_correction_keeps_its_digits_after_many_steps() -> None:
    params = parameters()
    optimizer = AdamW(params, (0.9, 0.999), 1e-8, [0.0] * len(params))
    optimizer.steps.set_data(ms.Tensor(1e6, ms.float32))
    optimizer(ms.Tensor(1e-3, ms.float32), tensors(arrays(1)))
    assert float(optimizer.steps.asnumpy()) == 1e6 + 1
    for param, moment, square, before in zip(params, optimizer.exp_avg, optimizer.exp_avg_sq, arrays(0), strict=True):
        update = 1e-3 * moment.asnumpy() / (np.sqrt(square.asnumpy()) + 1e-8)
        np.testing.assert_allclose(param.asnumpy(), before - update, rtol=1e-5, atol=1e-6)


def test_the_optimizers_state_is_named_after_the_parameters() -> None:
    names = {param.name for param in AdamW(parameters(), (0.9, 0.999), 1e-8, [0.0] * 4).get_parameters()}
    moments = {f"{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in SHAPES}
    assert names == {*SHAPES, *moments, "optimizer_steps"}


def test_weight_decay_leaves_vectors_alone_unless_wanted_everywhere() -> None:
    decays = {param.name: decay_of(param, 0.1, everywhere=False) for param in parameters()}
    assert decays == {"dense.weight": 0.1, "dense.bias": 0.0, "norm.weight": 0.0, "conv.weight": 0.1}
    assert {decay_of(param, 0.1, everywhere=True) for param in parameters()} == {0.1}


@pytest.mark.parametrize("limit", [0.01, 1.0, 1e6])
def test_clipping_equals_torch(limit: float) -> None:
    torch = pytest.importorskip("torch")
    params = [torch.nn.Parameter(torch.tensor(array)) for array in arrays(0)]
    for param, gradient in zip(params, arrays(5), strict=True):
        param.grad = torch.tensor(gradient)
    norm = float(torch.nn.utils.clip_grad_norm_(params, limit))
    clipped = ClipByGlobalNorm(limit)(tensors(arrays(5)))
    for ours, param in zip(clipped, params, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), param.grad.numpy(), rtol=2e-6)
    assert float(GlobalNorm()(tensors(arrays(5))).asnumpy()) == pytest.approx(norm, rel=1e-6)


def test_the_norm_of_one_gradient_and_of_half_precision_is_taken_in_float32() -> None:
    assert float(GlobalNorm()((ms.Tensor([300.0, 400.0], ms.float16),)).asnumpy()) == 500.0
    (clipped,) = ClipByGlobalNorm(1.0)((ms.Tensor([300.0, 400.0], ms.float16),))
    assert clipped.dtype == ms.float16
    np.testing.assert_allclose(clipped.asnumpy(), [0.6, 0.8], rtol=1e-3)


class TestSchedules:
    def rates(self, kind: str, warmup: int, total: int = 10) -> list[float]:
        rate = schedule(kind, 2.0, warmup, total)
        return [rate(step) for step in range(total)]

    def test_constant_stays_at_the_peak(self) -> None:
        assert self.rates("constant", 0) == [2.0] * 10

    def test_warm_up_starts_above_zero_and_reaches_the_peak_with_its_last_step(self) -> None:
        assert self.rates("constant", 4) == [0.5, 1.0, 1.5, *[2.0] * 7]
        assert self.rates("constant", 1) == [2.0] * 10

    def test_linear_falls_evenly_and_would_be_zero_after_the_last_step(self) -> None:
        assert self.rates("linear", 0) == pytest.approx([2.0 - 0.2 * step for step in range(10)])
        assert self.rates("linear", 5)[4:] == pytest.approx([2.0, 2.0, 1.6, 1.2, 0.8, 0.4])
        assert schedule("linear", 2.0, 0, 10)(10) == 0.0

    def test_cosine_is_at_half_after_half_of_the_steps(self) -> None:
        rates = self.rates("cosine", 0)
        assert rates[0] == 2.0
        assert rates[5] == pytest.approx(1.0)
        assert rates == sorted(rates, reverse=True)
        assert schedule("cosine", 2.0, 0, 10)(10) == pytest.approx(0.0)

    @pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
    def test_steps_beyond_the_plan_and_warm_ups_as_long_as_it_stay_in_bounds(self, kind: str) -> None:
        assert 0.0 <= schedule(kind, 2.0, 0, 10)(1000) <= 2.0
        assert self.rates(kind, 10)[-1] == 2.0
        assert self.rates(kind, 20)[-1] == 1.0
        assert schedule(kind, 2.0, 0, 1)(0) == 2.0


def test_optimizer_cells_keep_no_gradient_themselves() -> None:
    optimizer = AdamW(parameters(), (0.9, 0.999), 1e-8, [0.0] * 4)
    assert isinstance(optimizer, nn.Cell)
    assert not optimizer.steps.requires_grad
