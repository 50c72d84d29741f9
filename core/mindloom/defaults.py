"""The core's own answers, asked after every plugin: one process, float32, AdamW, one dispatch a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .errors import UserError
from .plugin import hookimpl
from .world import Device, World

if TYPE_CHECKING:
    from mindspore import Parameter, nn
    from omegaconf import DictConfig

    from .data.pipeline import Dataset
    from .precision import Precision
    from .run import Run
    from .step import StepParts, StepResult


class Defaults:
    """Registered first, so that it is asked last."""

    @hookimpl
    def make_device(self, cfg: DictConfig) -> Device:
        """Set the device up as ``cfg.device`` says, and seed what MindSpore draws on the host (initial weights)."""
        import mindspore as ms

        want = cfg.device
        try:
            ms.set_device(want.target)
        except (RuntimeError, ValueError, TypeError) as error:
            # A process that has computed already cannot choose again, but may go on with the same device.
            if ms.get_context("device_target") != want.target:
                reason = " ".join(str(error).split())[:400]
                raise UserError(
                    f"this MindSpore {ms.__version__} cannot use {want.target}: {reason}", setting="device.target"
                ) from error
        graph = want.mode == "graph"
        ms.set_context(mode=ms.GRAPH_MODE if graph else ms.PYNATIVE_MODE)
        if want.jit_level:
            ms.set_context(jit_config={"jit_level": want.jit_level})
        if want.max_memory:
            ms.set_context(max_device_memory=want.max_memory)
        ms.set_seed(cfg.seed % 2**32)
        return Device(want.target, graph, f"{want.target}, {want.mode} mode, MindSpore {ms.__version__}")

    @hookimpl
    def make_world(self) -> World:
        """One process."""
        return World()

    @hookimpl
    def make_dataset(self, run: Run) -> Dataset:
        """The pipeline over ``data.path`` or ``data.mix``."""
        from .data.opening import make_pipeline

        return make_pipeline(run)

    @hookimpl
    def make_precision(self) -> Precision:
        """Everything float32."""
        from .precision import Precision

        return Precision()

    @hookimpl
    def make_schedule(self, run: Run) -> Callable[[int], float]:
        """Warm-up, then constant, linear or cosine."""
        from .optim import schedule

        optim = run.cfg.optim
        return schedule(optim.schedule, optim.lr, optim.warmup_steps, run.cfg.max_steps)

    @hookimpl
    def make_optimizer(self, run: Run, params: Sequence[Parameter]) -> nn.Cell:
        """AdamW."""
        from .optim import AdamW, decay_of

        optim = run.cfg.optim
        decays = [decay_of(param, optim.weight_decay, optim.decay_norm_and_bias) for param in params]
        return AdamW(params, optim.betas, optim.eps, decays)

    @hookimpl
    def add_grad_ops(self, run: Run) -> Sequence[nn.Cell]:
        """Clipping, unless it is off."""
        from .optim import ClipByGlobalNorm

        limit = run.cfg.optim.max_grad_norm
        return [ClipByGlobalNorm(limit)] if limit else []

    @hookimpl
    def make_step(self, parts: StepParts) -> nn.Cell:
        """Forward, gradients, accumulation, reduction, gradient operations, update."""
        from .scaling import ScaledStep
        from .step import TrainStep

        return ScaledStep(parts, parts.scale) if parts.scale else TrainStep(parts)

    @hookimpl
    def make_stepper(self, run: Run, step: nn.Cell, dataset: Dataset) -> Iterator[StepResult]:
        """One dispatch for each step."""
        from .step import step_by_step

        return step_by_step(run, step, dataset)
