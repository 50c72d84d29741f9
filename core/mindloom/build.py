"""Building a run: every slot filled and every contribution applied, in the one order that works.

Order is by construction: structure edits < precision < optimizer < gradient reduction < gradient operations < step <
stepper. What is cheap to refuse (checkpoint to resume from, data) comes before what is slow to build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .makers import answered, makers, wrong_rate
from .run import Run

if TYPE_CHECKING:
    from mindspore import nn

    from .precision import Precision
    from .step import StepResult


NO_TASK = "no plugin makes a task, so there is nothing to train: enable one (see: mindloom plugins list)"


@dataclass(frozen=True)
class Built:
    """What the loop needs besides the run."""

    step: nn.Cell
    stepper: Iterator[StepResult]


def build(run: Run, resume_from: Path | None) -> Built:
    """Make everything and restore the checkpoint to resume from, if there is one.

    Raises:
        UserError: something in the config, the data or the weights does not fit.
    """
    call = run.plugins.call
    run.dataset = call("make_dataset", run=run)
    step = make_step(run, _make_model(run, resumed=resume_from is not None))
    if resume_from is not None:
        _resume(run, step, resume_from)
    run.cache_graphs(step)
    report(run)
    return Built(step, call("make_stepper", run=run, step=step, dataset=run.dataset))


def _make_model(run: Run, resumed: bool) -> Precision:
    """Make the task, alter its model and load weights. Values that a file will replace anyway are never drawn."""
    from mindspore.nn.utils import no_init_parameters

    weight = "" if resumed else run.cfg.weight
    with no_init_parameters() if resumed or weight else nullcontext():
        make_task(run)
    if weight and not run.task.casts_weights:
        _load(run, Path(weight))
    precision = alter_model(run)
    if weight and run.task.casts_weights:
        _load(run, Path(weight))
    return precision


def _load(run: Run, weight: Path) -> None:
    run.task.load_weights(weight.expanduser())
    for param in run.task.model.get_parameters():
        if param.has_init:  # the task's loader leaves it as it is drawn
            param.init_data()


def make_task(run: Run) -> None:
    """Ask for the task.

    Raises:
        UserError: nobody has one.
    """
    task = run.plugins.call("make_task", run=run)
    if task is None:
        raise UserError(NO_TASK)
    name_parameters(task.model)  # their places in the loss have named them otherwise, and a loader goes by names
    run.task = task


def alter_model(run: Run) -> Precision:
    """Replace the claimed cells, name the parameters and lower their dtypes."""
    from . import edits, precision

    task = run.task
    asked = run.plugins.collect("edit_model", run=run, model=task.model)
    claimed = [(owner, edits.watched(run.plugins, owner, edit)) for owner, many in asked for edit in many]
    replaced = edits.apply([task.model, task.loss, *task.cells], claimed, run.log)
    name_parameters(task.model)
    wanted = run.plugins.call("make_precision", run=run)
    wanted = replace(wanted, keep_float32=(*task.keep_float32, *wanted.keep_float32))
    cast = precision.apply(task.model, wanted)
    run.altered_by = sorted({*replaced, *(run.plugins.fillers("make_precision") if cast else ())})
    return wanted


def name_parameters(model: nn.Cell) -> None:
    """Give every parameter the name of its place, which is its name on disk."""
    for name, param in model.parameters_and_names():
        param.name = name


def make_step(run: Run, precision: Precision) -> nn.Cell:
    """Everything that is compiled: the loss of ``run.task`` and what happens to its gradients."""
    from .snapshots import step_state
    from .step import StepParts

    call = run.plugins.call
    params = run.task.model.trainable_params()
    if not params:
        raise UserError("nothing to train: every parameter of the model is frozen")
    run.schedule = _schedule(run)
    parts = StepParts(
        loss=run.task.loss,
        params=params,
        optimizer=call("make_optimizer", run=run, params=params),
        reducer=call("make_reducer", run=run, params=params),
        grad_ops=[op for _, ops in run.plugins.collect("add_grad_ops", run=run) for op in ops],
        accumulate=run.cfg.gradient_accumulation_steps,
        scale=precision.scale,
    )
    step: nn.Cell = call("make_step", run=run, parts=parts)
    step.set_train()
    step_state(step, run.task.model, run.averages)  # what could not be saved is refused before it is trained
    return step


def _schedule(run: Run) -> Callable[[int], float]:
    """Ask for the schedule; a plugin's is watched: its errors come long after it was returned."""
    rate: Callable[[int], float] = run.plugins.call("make_schedule", run=run)
    who = makers(run.plugins, "make_schedule")
    return answered(run.plugins, "make_schedule", who, rate, wrong_rate) if who else rate


def _resume(run: Run, step: nn.Cell, path: Path) -> None:
    from .snapshots import restore

    assert run.checkpointer is not None
    restore(run, step, run.checkpointer.load(path), path)
    if run.step >= run.last_step:
        raise UserError(f"{path} already has {run.step} of {run.last_step} steps: raise max_steps or stop_at to go on")
    run.log.info("resuming from %s at step %d", path, run.step)
    run.plugins.call("on_resume", run=run, path=path)


def report(run: Run) -> None:
    """Print who filled each slot, and what is about to be trained."""
    for hook in run.plugins.slots():
        who = [*run.plugins.fillers(hook), *(f"{name} (wraps)" for name in run.plugins.fillers(hook, wrappers=True))]
        if who:
            run.log.info("%s: %s", hook, ", ".join(who))
    params = list(run.task.model.get_parameters())
    trained = sum(param.size for param in params if param.requires_grad)
    run.log.info("%s of %s parameters train", _millions(trained), _millions(sum(param.size for param in params)))
    run.log.info(
        "%d samples, %d in each step, steps to go: %d (%.1f epochs)",
        run.dataset.samples,
        run.global_batch,
        run.last_step - run.step,
        (run.last_step - run.step) * run.global_batch / run.dataset.samples,
    )


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
