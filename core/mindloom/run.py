"""The state of a run, as every plugin sees it: where it is, what it is made of, and what may be asked of it."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .blame import PluginError
from .checkpoint import GROUPS
from .errors import TrainingError, UserError
from .records import Clock, Record, check_published

if TYPE_CHECKING:
    import numpy as np
    from mindspore import nn
    from omegaconf import DictConfig

    from .averages import Averages
    from .checkpoint import Checkpointer
    from .data.buckets import Frame
    from .data.pipeline import Dataset
    from .graphs import GraphCache
    from .registry import Registry
    from .step import StepResult
    from .task import Task
    from .world import Device, World


@dataclass
class Run:
    """One training run.

    Attributes:
        cfg: the merged, read-only config.
        plugins: the enabled plugins and their hooks.
        log: for messages to people; also goes to ``run.log`` in the run folder.
        path: the run folder; where run folders are made until it is chosen.
        device, world, task, dataset, schedule: filled as they are built, in this order.
        step: optimizer steps done, over all resumed parts.
        first_step, first_position: step and global sample position at which this process started.
        stop_wish: why somebody wants the run to end early; empty while nobody does.
        stop_reason: why it ends before ``last_step``, once all processes know.
        saved_step: step of the last durable checkpoint, -1 without one.
        wanted_by: who asked for a checkpoint of this dispatch.
        signal: number of the signal that stopped the run, 0 without one.
        idle_states: of plugins that are off, from the checkpoint resumed from: the next one holds them again.
        frames: shapes of pictures that the step was compiled for, with buckets.
        altered_by: plugins that replaced cells or changed dtypes; a checkpoint needs them to resume.
        checkpointer: None when nothing is saved.
        averages: averaged copies of the trained parameters, None when no plugin keeps any. With them as weights:
            ``with run.averages.shown(): ...``.
        graphs: compiled graphs that outlive the process, None when they are not to.
        dry: the step is only compiled: parameters have no values, no sample is prepared, nothing is computed.
    """

    cfg: DictConfig
    plugins: Registry
    log: logging.Logger
    path: Path
    device: Device = field(init=False)
    world: World = field(init=False)
    task: Task = field(init=False)
    dataset: Dataset = field(init=False)
    schedule: Callable[[int], float] = field(init=False)
    checkpointer: Checkpointer | None = None
    averages: Averages | None = None
    graphs: GraphCache | None = None
    step: int = 0
    first_step: int = 0
    first_position: int = 0
    stop_wish: str = ""
    stop_reason: str = ""
    saved_step: int = -1
    wanted_by: str = ""
    signal: int = 0
    dry: bool = False
    idle_states: dict[str, Any] = field(default_factory=dict)
    altered_by: list[str] = field(default_factory=list)
    frames: set[Frame] = field(default_factory=set)
    clock: Clock = field(default_factory=Clock)
    pending: Record = field(default_factory=lambda: Record(0))

    # Cached, because looking a setting up takes ten microseconds, and these are asked for several times a dispatch.
    @cached_property
    def last_step(self) -> int:
        """The step after which this process ends: ``max_steps``, or ``stop_at`` if that is earlier."""
        return min(self.cfg.max_steps, self.cfg.stop_at or self.cfg.max_steps)

    @cached_property
    def global_batch(self) -> int:
        """Samples in one optimizer step over all processes."""
        return int(self.cfg.per_batch_size * self.cfg.gradient_accumulation_steps * self.world.size)

    @property
    def position(self) -> int:
        """Global samples consumed."""
        return self.first_position + (self.step - self.first_step) * self.global_batch

    @property
    def epoch(self) -> float:
        """Epochs consumed."""
        return self.position / self.dataset.samples

    @property
    def finished(self) -> bool:
        """Whether the loop ends after this dispatch."""
        return bool(self.stop_reason) or self.step >= self.last_step

    def advance(self, n: int) -> None:
        """Count n steps as done."""
        self.step += n
        self.clock.tick(n * self.global_batch)

    def due(self, every: int, n: int) -> bool:
        """Whether the last n steps crossed a multiple of ``every``; never when it is 0."""
        return every > 0 and self.step // every > (self.step - n) // every

    def stop(self, reason: str) -> None:
        """End in an orderly way: saved, closed, exit code 0. One process of several ends at the next log."""
        self.stop_wish = self.stop_wish or reason

    def announce_frame(self, frame: Frame | None) -> None:
        """Say that the next dispatch compiles a graph, if pictures have this shape for the first time."""
        if frame is not None and frame not in self.frames:
            self.frames.add(frame)
            height, width = frame
            self.log.info("step %d: compiling for pictures of %d x %d", self.step, width, height)

    def cache_graphs(self, cell: nn.Cell, together: bool = True) -> None:
        """Take what is compiled of this cell from the compile cache, and keep it there.

        The step itself is seen to already. A stepper that dispatches a cell of its own says so here, and so does
        whoever calls another one, such as the loss by itself.

        Args:
            cell: before it is called for the first time.
            together: every process calls it at the same moment; False for what only some of them compute.
        """
        from .graphs.heap import lean

        if self.graphs is not None:
            self.graphs.watch(cell, together)
        lean(cell)

    def agree_to_stop(self, together: bool) -> None:
        """Turn a wish to stop into a stop; several processes only when all look at once: none shall wait alone."""
        if self.world.size == 1:
            self.stop_reason = self.stop_wish
        elif together and self.world.any(bool(self.stop_wish)):
            self.stop_reason = self.stop_wish or "another process stopped"
            # One signal to the job reaches its processes at different moments; their exit codes are equal all the same.
            if self.world.any(bool(self.signal)):
                self.signal = self.signal or signal.SIGTERM

    def request_checkpoint(self, by: str) -> None:
        """Save once all observers of the current dispatch are done."""
        self.wanted_by = by

    def keep_averages(self, averages: Averages) -> None:
        """Say, from ``make_step``, that the step keeps averaged copies of the parameters.

        Raises:
            UserError: another plugin does so already, or the name is one that checkpoints need.
        """
        if self.averages is not None:
            raise UserError(
                f"{self.averages.name} and {averages.name} both average the weights: switch one off with "
                f"--plugins no:{averages.name}"
            )
        if averages.name in GROUPS:
            raise UserError(f"a plugin that averages the weights cannot be called {averages.name!r}: rename it")
        self.averages = averages

    def publish(
        self,
        *,
        values: dict[str, float] | None = None,
        images: dict[str, np.ndarray] | None = None,
        texts: dict[str, str] | None = None,
    ) -> None:
        """Add values, pictures or texts to the next record; the core emits one soon, at the latest at the end.

        Raises:
            TypeError: a value is no number, a picture no uint8 array ``[height, width, 3]``, or a text no string.
        """
        check_published(values or {}, images or {}, texts or {})
        self.pending.update(values or {})
        self.pending.images.update(images or {})
        self.pending.texts.update(texts or {})

    def record(self, result: StepResult) -> Record:
        """Read the dispatch's values from the device, and add what plugins measure and published.

        Raises:
            TrainingError: the loss is not a finite number.
        """
        values = {name: float(tensor.asnumpy()) for name, tensor in result.outputs.items() if tensor.ndim == 0}
        loss = values["loss"]
        if not math.isfinite(loss) and not values.get("skipped_in_a_row"):
            raise TrainingError(
                f"the loss is {loss} at step {self.step}: lower optim.lr or check the data; "
                "no checkpoint was written from this state"
            )
        values |= {"lr": result.lr, "epoch": self.epoch}
        rate = self.clock.read()
        if rate is not None:
            values[f"{self.task.throughput_unit()}_per_second"] = rate
        for owner, metrics in self.plugins.collect("add_metrics", run=self, result=result):
            try:
                values |= {f"{owner}/{key}": float(value) for key, value in metrics.items()}
            except (AttributeError, TypeError, ValueError) as error:
                raise PluginError(owner, "add_metrics", error) from error
        return self.flush(values)

    def flush(self, values: dict[str, float] | None = None) -> Record:
        """Take the pending record, with these values first, and begin a new one."""
        record, self.pending = self.pending, Record(0)
        merged = Record(self.step, {**(values or {}), **record})
        merged.images, merged.texts = record.images, record.texts
        return merged

    def state(self) -> dict[str, Any]:
        """The counters that a checkpoint holds."""
        return {"step": self.step, "position": self.position, "world_size": self.world.size, "seed": self.cfg.seed}
