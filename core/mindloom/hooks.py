"""Every hook that the core calls, in the order of a run.

The verb says what a hook may do:

- ``make_x`` fills a slot. One plugin answers at the most; the core's own answer is asked last. A wrapper
  (``@hookimpl(wrapper=True)``) may change what another returned.
- ``add_x`` and ``edit_x`` contribute. Everyone is asked; the core collects, refuses clashes and applies.
- ``on_x`` observes. The result is ignored.

The calls of one run, in order::

    on_configure                      the config is merged, typed and still writable; no mindspore yet
    make_device -> make_world         build time: everything below makes or replaces objects
    make_checkpointer                 early, so that --resume is refused before anything is built
    make_dataset -> add_formats       missing data is refused before the model is built
    make_task
    edit_model -> make_precision      structure first, then dtypes
    make_schedule -> make_optimizer -> make_reducer -> add_grad_ops
    make_step                         the compiled step
    on_resume                         only with --resume
    make_stepper                      who drives the step, from where the run stands
    on_train_start                    run time: hooks see whole dispatches of n >= 1 steps
      on_step_start                   then the dispatch itself
      on_step_end
      add_metrics -> on_log           only when a log is due
      on_checkpoint                   only when one has become durable
    on_train_end | on_exception
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from mindspore import Parameter, nn
    from omegaconf import DictConfig

    from .checkpoint import Checkpointer
    from .data.pipeline import Dataset
    from .edits import CellEdit
    from .formats import Format, OpenFormat
    from .precision import Precision
    from .records import Record
    from .run import Run
    from .step import StepParts, StepResult
    from .task import Task
    from .world import Device, World

hookspec = pluggy.HookspecMarker("mindloom")
slot = pluggy.HookspecMarker("mindloom")(firstresult=True)


class HookSpecs:
    """The specifications; a plugin implements any of them under the same name, with any subset of the arguments."""

    @hookspec
    def on_configure(self, cfg: DictConfig) -> None:
        """Check the merged config; raise ``UserError`` to reject it.

        Called once, before mindspore is imported. Afterwards the config is read-only.

        :param cfg: the whole config; ``cfg.plugins.<name>`` are the typed sections of the enabled plugins.
        """

    @slot
    def make_device(self, cfg: DictConfig) -> Device | None:
        """Set up the device: target, graph or eager mode, jit level, memory limit. Import mindspore from here on.

        Stops at the first non-None result.
        """

    @slot
    def make_world(self, cfg: DictConfig, device: Device) -> World | None:
        """Join the process group and say which rank this is. The core answers with one process.

        Stops at the first non-None result.
        """

    @hookspec
    def add_formats(self) -> dict[str, OpenFormat | Format] | None:
        """Offer dataset formats: name -> ``open(path, world)``, or a ``Format`` that can be written too.

        What is opened has ``__len__`` and either ``__getitem__(index) -> {"image": bytes, "caption": str, "id": str}``,
        which may be asked from several threads at once, or ``read(epoch, start, stop)``, which yields the same: see
        ``mindloom.formats``. Two plugins that offer the same name are refused.
        """

    @slot
    def make_task(self, run: Run) -> Task | None:
        """Build the model, its loss cell and its sample transform. There is no default: a run needs a task.

        Stops at the first non-None result.
        """

    @slot
    def make_dataset(self, run: Run) -> Dataset | None:
        """Join format, task transform and order into batches that can start at any step.

        Called before the task is built, so that missing data is reported at once; ``run.task`` is there when batches
        are drawn. Stops at the first non-None result.
        """

    @hookspec
    def edit_model(self, run: Run, model: nn.Cell) -> Sequence[CellEdit] | None:
        """Claim cells of the model and say what replaces them. The core applies all claims together.

        Overlapping claims (one cell twice, or a cell inside another claimed cell) are refused naming both plugins,
        unless one says that it gives way (``yields``) or does the work of the cells inside, which it holds (``wraps``).
        A replacement must hold parameters of the same names and shapes.

        :param model: ``run.task.model``, to look at; do not change it here.
        """

    @slot
    def make_precision(self, run: Run) -> Precision | None:
        """Say which dtype parameters and computations have. Data only: the core casts.

        Stops at the first non-None result.
        """

    @slot
    def make_schedule(self, run: Run) -> Callable[[int], float] | None:
        """Return the learning rate as a pure function of the number of optimizer steps done before.

        Stops at the first non-None result.
        """

    @slot
    def make_optimizer(self, run: Run, params: Sequence[Parameter]) -> nn.Cell | None:
        """Return a cell ``construct(lr, gradients)`` that updates the parameters. Its own parameters are its state.

        Stops at the first non-None result.

        :param params: the trainable parameters, already in their final dtype.
        """

    @slot
    def make_reducer(self, run: Run, params: Sequence[Parameter]) -> nn.Cell | None:
        """Return a cell gradients -> gradients that averages over processes, or None for one process.

        Stops at the first non-None result.
        """

    @hookspec
    def add_grad_ops(self, run: Run) -> Sequence[nn.Cell] | None:
        """Add cells gradients -> gradients that run inside the step, after accumulation and reduction.

        They run in the order of the plugins; the core's clipping runs last.
        """

    @slot
    def make_step(self, run: Run, parts: StepParts) -> nn.Cell | None:
        """Return the cell of one optimizer step: ``construct(lr, *columns) -> outputs``.

        Its attribute ``outputs`` names what it returns. Stops at the first non-None result; wrap it to add to a step.
        """

    @slot
    def make_stepper(self, run: Run, step: nn.Cell, dataset: Dataset) -> Iterator[StepResult] | None:
        """Drive the step over the dataset: each item is one dispatch of ``result.n`` steps.

        Stops at the first non-None result.
        """

    @slot
    def make_checkpointer(self, cfg: DictConfig) -> Checkpointer | None:
        """Return who writes, finds and reads checkpoints. Without one, nothing is saved.

        Called before anything is built, so that ``--resume`` can be refused early. Stops at the first non-None result.
        """

    @hookspec
    def on_resume(self, run: Run, path: Path) -> None:
        """Note that parameters, counters and every plugin's state were restored from ``path``."""

    @hookspec
    def on_train_start(self, run: Run) -> None:
        """Note that everything is built and the first dispatch comes next. ``run.path`` exists."""

    @hookspec
    def on_step_start(self, run: Run) -> None:
        """Note that a dispatch begins. The first one compiles, which may take minutes."""

    @hookspec
    def on_step_end(self, run: Run, result: StepResult) -> None:
        """Note that ``result.n`` steps are done; ``run.step`` counts them already.

        May call ``run.request_checkpoint``, ``run.stop`` and ``run.publish``. Reading a tensor of ``result`` makes the
        host wait for the device.
        """

    @hookspec
    def add_metrics(self, run: Run, result: StepResult) -> dict[str, float] | None:
        """Add values to the record about to be logged; their keys become ``<plugin>/<key>``.

        Called only when a log is due.
        """

    @hookspec
    def on_log(self, run: Run, record: Record) -> None:
        """Write a record somewhere. Called on the main process only, unless the plugin says ``ranks = "all"``.

        :param record: a dict of floats, with ``record.step``, ``record.images`` and ``record.texts`` beside it.
        """

    @hookspec
    def on_checkpoint(self, run: Run, path: Path) -> None:
        """Note that a checkpoint is complete and durable at ``path``, on every process.

        It is that of ``run.saved_step``: what was written behind the training is complete some dispatches later.
        Several processes are told together, when a log is due, another checkpoint begins, or the run ends.
        """

    @hookspec
    def on_exception(self, run: Run, error: BaseException) -> None:
        """Note that the run fails with ``error``, before any plugin is closed. It is raised again afterwards.

        Called for every failure after ``on_configure``: what was not built yet, ``run`` does not have.
        """

    @hookspec
    def on_train_end(self, run: Run) -> None:
        """Note that the run ended as planned: all steps done, or stopped in an orderly way. The last state is saved."""
