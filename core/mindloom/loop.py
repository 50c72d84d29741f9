"""The loop: drive the stepper, tell everybody, save when asked, and end in an orderly way."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from .blame import blaming
from .errors import TrainingError, UserError
from .makers import answering, makers, suspecting, suspects
from .results import lacking
from .saving import Saving

if TYPE_CHECKING:
    from .build import Built
    from .records import Record
    from .run import Run
    from .step import StepResult


ENDED: Any = object()


def train(run: Run, built: Built) -> None:
    """Run all steps that are left.

    Hooks in order: ``on_train_start``, then for each dispatch ``on_step_start``, (the dispatch), ``on_step_end``,
    ``add_metrics`` and ``on_log`` if a log is due, ``on_checkpoint`` if one has become durable; ``on_train_end`` at
    last.
    """
    with stopping_on_signals(run) as listen, Saving(run, built.step) as saving:
        run.plugins.call("on_train_start", run=run)
        listen()
        emit(run, run.flush())
        run.agree_to_stop(together=True)  # before minutes go into compiling
        if not run.finished:
            if run.averages is not None:
                run.averages.fill()  # not before: at the start the weights may still be made equal on all processes
            try:
                dispatch_all(run, built, saving, listen)
            except UserError:
                _keep(run, saving)
                raise
        saving.finish()
        run.plugins.call("on_train_end", run=run)
        emit(run, run.flush())


def _keep(run: Run, saving: Saving) -> None:
    """Save the steps done before the data turned out to be unusable or at an end: they are sound.

    Not so after another failure, which may have come in the midst of a step; and several processes may fail apart.
    """
    if run.world.size == 1 and run.step > run.first_step:
        saving.finish()


def dispatch_all(run: Run, built: Built, saving: Saving, listen: Callable[[], None]) -> None:
    """Loop over the dispatches until the run is finished.

    Raises:
        TrainingError: a plugin's stepper or dataset ends early, without ``run.stop``.
    """
    log_interval = run.cfg.log_interval
    for result in dispatches(run, built.stepper):
        listen()
        run.advance(result.n)
        with run.clock.pause():
            run.plugins.call("on_step_end", run=run, result=result)
        log_due = run.due(log_interval, result.n)
        run.agree_to_stop(log_due)
        if log_due or run.finished:
            emit(run, run.record(result))
        elif run.pending:  # published between two logs: its step is this one
            emit(run, run.flush())
        if run.finished:
            return
        saving.look(together=log_due)
        if run.wanted_by:
            saving.save()
    if not run.stop_wish:
        _keep(run, saving)
        raise _ended_early(run)


def _ended_early(run: Run) -> TrainingError:
    hook = "make_stepper" if makers(run.plugins, "make_stepper") else "make_dataset"
    error = TrainingError(
        f"the stepper ended at step {run.step} of {run.last_step}: let it yield a StepResult for every dispatch, "
        "or end the run with run.stop(reason)"
    )
    if note := suspects(run.plugins, [hook]):
        error.add_note(note)
    return error


def dispatches(run: Run, stepper: Iterator[StepResult]) -> Iterator[StepResult]:
    """Announce each dispatch before it begins, and blame the plugin whose generator or cell fails in it."""
    while True:
        run.plugins.call("on_step_start", run=run)
        began, loaded = time.monotonic(), run.graphs.loaded if run.graphs else 0
        with blaming(run.plugins.plugins, "the training step"), suspecting(run.plugins):
            result = next(stepper, ENDED)
        if result is ENDED:
            return
        with answering(run.plugins, "make_stepper", makers(run.plugins, "make_stepper")):
            if wrong := lacking(result, ("n", "lr", "outputs")):
                raise TypeError(f"it must yield StepResult, not {wrong}")
        if run.step == run.first_step and run.device.graph:
            # The device may still compute: what took long was done on the host.
            way = "from the compile cache" if run.graphs and run.graphs.loaded > loaded else "compiled"
            run.log.info("first step %s in %.1f s", way, time.monotonic() - began)
        yield result


def emit(run: Run, record: Record) -> None:
    """Hand a record to the loggers, unless it is empty."""
    if record:
        run.plugins.call_ranked("on_log", run.world.is_main, run=run, record=record)


@contextmanager
def stopping_on_signals(run: Run) -> Iterator[Callable[[], None]]:
    """Let SIGTERM and Ctrl-C end the run after the current dispatch; a Ctrl-C after that ends it at once.

    Yields what makes the signals heard again. MindSpore puts a handler of its own in place whenever a graph runs, which
    turns SIGINT into SIGTERM, and leaves it there: so a Ctrl-C within a dispatch counts as SIGTERM.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if run.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        run.signal = number
        run.stop(f"{signal.Signals(number).name} received")

    def listen() -> None:
        for number in before:
            signal.signal(number, stop)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    listen()
    try:
        yield listen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
