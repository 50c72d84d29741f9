"""Whole training steps against PyTorch's AdamW on diffusers' UNet: losses, gradient norms, every parameter."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindloom.optim import AdamW, ClipByGlobalNorm, decay_of
from mindloom.step import StepParts, TrainStep
from mindloom_sdxl import Sdxl
from mindloom_sdxl.presets import PRESETS
from mindloom_sdxl.task import SdxlTask

from .computation import batch, theirs
from .pairing import Part, pair
from .reference import PRESET, Arrays, torch
from .trail import assert_same

RATES = (1e-4, 3e-4, 2e-4)
BETAS = (0.9, 0.999)
DECAY = 0.5
"""Much, so that decay of the wrong parameters would be seen beside the first steps, which are as large as lr."""
EPS = 1e-6
"""That of the MindSpore reference recipe. AdamW's first change is lr · g/(|g| + ε): with 1e-8, numbers whose gradient
is only rounding, about 1e-9 here, would move by a tenth of lr in directions of their own on either side."""
BATCH = 2


@dataclass(frozen=True)
class Step:
    """What one step left behind.

    Attributes:
        scalars: loss and gradient norm, before clipping.
        params: all trained parameters by the reference's names.
    """

    scalars: Arrays
    params: Arrays


@pytest.fixture(scope="module")
def task(folder: Path) -> Iterator[SdxlTask]:
    """As a run builds it from a config and ``--weight FOLDER``."""
    PRESETS[PRESET.name] = PRESET
    cfg = Sdxl.Config(preset=PRESET.name, min_snr_gamma=5.0, offset_noise=0.05, caption_dropout=0.3, flip=0.5)
    made = SdxlTask(cfg, weight=str(folder))
    made.load_weights(folder)
    yield made
    del PRESETS[PRESET.name]


@pytest.fixture(scope="module")
def part(task: SdxlTask, pipe: Any) -> Part:
    """Both UNets that are trained: the shared ones stay as they are."""
    mine = copy.copy(pipe)
    mine.unet = copy.deepcopy(pipe.unet)
    return pair(task.model, mine, "unet")


@pytest.fixture(scope="module")
def start(part: Part) -> Arrays:
    """The reference's parameters before all steps."""
    return {name: p.detach().numpy().copy() for name, p in part.theirs.named_parameters()}


@pytest.fixture(scope="module")
def columns(task: SdxlTask) -> list[Arrays]:
    return [batch(task.transform, range(BATCH * step, BATCH * (step + 1))) for step in range(len(RATES))]


@pytest.fixture(scope="module")
def expected(part: Part, start: Arrays, pipe: Any, task: SdxlTask, columns: list[Arrays]) -> tuple[float, list[Step]]:
    """The limit of the gradient norm, half of the first one so that it is felt, and the reference's steps."""
    params = dict(part.theirs.named_parameters())
    groups = [{"params": [p], "weight_decay": DECAY if p.ndim > 1 else 0.0} for p in params.values()]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=BETAS, eps=EPS)
    limit, steps = 0.0, []
    for rate, given in zip(RATES, columns, strict=True):
        _, loss = theirs(pipe, part.theirs, given, task.objective)
        optimizer.zero_grad()
        loss.backward()
        limit = limit or 0.5 * float(torch.nn.utils.get_total_norm([p.grad for p in params.values()]))
        norm = torch.nn.utils.clip_grad_norm_(params.values(), limit)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        after = {name: p.detach().numpy().copy() for name, p in params.items()}
        steps.append(Step({"loss": loss.detach().numpy(), "grad_norm": norm.numpy()}, after))
    return limit, steps


@pytest.fixture(scope="module")
def found(graph: None, task: SdxlTask, part: Part, expected: Any, columns: list[Arrays]) -> list[Step]:
    """Ours, compiled once. The parts are what the core's defaults make of a config."""
    params = task.model.trainable_params()
    decays = [decay_of(param, DECAY, everywhere=False) for param in params]
    optimizer = AdamW(params, BETAS, EPS, decays)
    step = TrainStep(StepParts(task.loss, params, optimizer, grad_ops=[ClipByGlobalNorm(expected[0])]))
    step.set_train()
    steps = []
    for rate, given in zip(RATES, columns, strict=True):
        outputs = step(ms.Tensor(rate, ms.float32), *(ms.Tensor(given[name]) for name in task.columns))
        scalars = {name: output.asnumpy() for name, output in zip(step.outputs, outputs, strict=True)}
        arrays = {name: p.asnumpy().copy() for name, p in part.ours.parameters_and_names()}
        steps.append(Step(scalars, part.renamed(arrays)))
    return steps


def changes(after: Arrays, before: Arrays) -> Arrays:
    return {name: value - before[name] for name, value in after.items()}


def test_both_sides_begin_with_the_same_weights(start: Arrays, expected: Any, found: list[Step]) -> None:
    """And every one of them is trained: after a step, none is what it was."""
    assert found[0].params.keys() == start.keys()
    for name, value in start.items():
        assert (found[0].params[name] != value).any(), name


def test_one_step_leaves_every_parameter_where_the_reference_has_it(
    start: Arrays, expected: Any, found: list[Step]
) -> None:
    step = expected[1][0]
    assert_same(found[0].scalars, step.scalars, "first step: loss and gradient norm")
    assert_same(found[0].params, step.params, "first step: parameters", limit=1e-4)
    assert_same(changes(found[0].params, start), changes(step.params, start), "first step: changes", limit=0.02)


@pytest.mark.parametrize("number", [1, 2])
def test_later_steps_follow_the_reference(start: Arrays, expected: Any, found: list[Step], number: int) -> None:
    step = expected[1][number]
    assert_same(found[number].scalars, step.scalars, f"step {number + 1}: loss and gradient norm")
    assert_same(found[number].params, step.params, f"step {number + 1}: parameters", limit=1e-4)
    differ = changes(found[number].params, start), changes(step.params, start)
    assert_same(*differ, f"step {number + 1}: changes since the start", limit=0.02)


def test_frozen_networks_stay_as_they_were(task: SdxlTask, model: Any, found: list[Step]) -> None:
    for name, parameter in model.parameters_and_names():
        if not name.startswith("model."):
            other = task.model.parameters_dict()[name]
            np.testing.assert_array_equal(other.asnumpy(), parameter.asnumpy(), err_msg=name)
