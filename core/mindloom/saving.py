"""Saving beside the training: the loop waits for a copy of the state, and the checkpoint is written behind it.

::

    loop    step 1 .. 10 | copy | step 11 .. 17         | step 18      step 19 .. 20 | wait | copy | step 21
    thread                      | check, write, sync    |              (if the first took until here)
    hooks                                               ^ on_checkpoint after the first dispatch that ends later

At most one checkpoint is under way, so one copy of the state is held, and its memory is used for the next copy. A
checkpointer decides whether its ``save`` may run in a thread (:func:`mindloom.checkpoint.in_background`); the loop
itself calls the others.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .blame import blaming
from .checkpoint import in_background
from .snapshots import Host, capture, check_finite

if TYPE_CHECKING:
    from mindspore import nn

    from .checkpoint import Snapshot
    from .run import Run


class Writing:
    """A checkpoint on its way to the disk, in a thread if asked for.

    Attributes:
        step: that it is of.
        path: where it is, once it is durable.
        error: why it could not be written.
    """

    def __init__(self, run: Run, step: int, path: str = "") -> None:
        self.run, self.step, self.path = run, step, path
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None

    def start(self, snapshot: Snapshot) -> Writing:
        """Write behind the caller's back; see ``done``."""
        # A daemon, because a second Ctrl-C ends the process at once: what is half written is never taken for complete.
        self.thread = threading.Thread(target=self._try, args=(snapshot,), name="saving", daemon=True)
        self.thread.start()
        return self

    def _try(self, snapshot: Snapshot) -> None:
        try:
            self.write(snapshot)
        except BaseException as error:
            self.error = error

    def write(self, snapshot: Snapshot) -> Writing:
        """Write now.

        Raises:
            TrainingError: a weight is not a finite number, or the checkpointer failed.
        """
        checkpointer = self.run.checkpointer
        assert checkpointer is not None
        check_finite(snapshot)
        with blaming(self.run.plugins.plugins, "saving a checkpoint"):
            self.path = str(checkpointer.save(snapshot, self.run.path))
        return self

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.thread is None or not self.thread.is_alive()

    def wait(self) -> float:
        """Wait until it is written or has failed; return the seconds. Signals are heard meanwhile."""
        began = time.monotonic()
        if self.thread is not None:
            self.thread.join()
        return time.monotonic() - began


class Saving:
    """Saves a run's checkpoints, one at a time, and tells everybody of each once it is durable.

    All processes of a run call the methods at the same steps; the main one writes. At the end of the block the last
    checkpoint is waited for, after an error too, but not after a second Ctrl-C.

    Attributes:
        under_way: the checkpoint that nobody was told of yet; known to every process.
    """

    def __init__(self, run: Run, step: nn.Cell) -> None:
        self.run, self.cell = run, step
        # Who saves in a thread has to be done with the arrays when it returns, and the next copy may take their place.
        self.host = Host(kept=in_background(run.checkpointer))
        self.under_way: Writing | None = None

    def __enter__(self) -> Saving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writing, self.under_way = self.under_way, None
        if writing is None or isinstance(error, KeyboardInterrupt):
            return
        writing.wait()
        if writing.error is not None:
            self.run.log.error("%s", writing.error)
        elif self.run.world.is_main:
            self._note(writing)
            if self.run.world.size == 1:  # the others may have ended elsewhere, and plugins may wait for them
                self.run.plugins.tell("on_checkpoint", self.run.log, run=self.run, path=Path(writing.path))

    def save(self) -> None:
        """Save the state as it is now: copied when this returns, and durable some time later.

        Raises:
            TrainingError: this checkpoint, or the one before it, cannot be written.
        """
        self._save(behind=in_background(self.run.checkpointer))

    def finish(self) -> None:
        """Save the state as it is now; it is durable when this returns.

        Raises:
            TrainingError: this checkpoint, or the one before it, cannot be written.
        """
        self._save(behind=False)

    def _save(self, behind: bool) -> None:
        run = self.run
        run.wanted_by = ""
        with run.clock.pause():
            self._settle()
            if run.checkpointer is None or run.saved_step == run.step:
                return
            self.under_way = writing = Writing(run, run.step)
            if run.world.is_main:
                try:
                    with blaming(run.plugins.plugins, "saving a checkpoint"):
                        snapshot = capture(run, self.cell, self.host)
                    if behind:
                        writing.start(snapshot)
                    else:
                        writing.write(snapshot)
                except BaseException:
                    self.under_way = None  # it is raised here: no need to tell of it at the end
                    raise
            if not behind:
                self._settle()

    def look(self, together: bool) -> None:
        """After a dispatch: tell of a checkpoint that is durable by now, or end the run if it could not be written.

        Args:
            together: all processes look at this step. Several tell of a checkpoint only then.

        Raises:
            TrainingError: it cannot be written.
        """
        writing = self.under_way
        if writing is None:
            return
        if writing.done and writing.error is not None:
            self._settle()
        if self.run.world.size == 1:
            durable = writing.done
        else:
            durable = together and self.run.world.any(self.run.world.is_main and writing.done)
        if durable:
            with self.run.clock.pause():
                self._settle()

    def _settle(self) -> None:
        """Wait for the checkpoint under way and tell of it."""
        writing, run = self.under_way, self.run
        if writing is None:
            return
        if not writing.done:
            seconds = writing.wait()
            run.log.info("step %d: waited %.1f s for the checkpoint of step %d", run.step, seconds, writing.step)
        self.under_way = None
        if writing.error is not None:
            raise writing.error
        writing.path = run.world.share(writing.path)
        self._note(writing)
        run.plugins.call("on_checkpoint", run=run, path=Path(writing.path))

    def _note(self, writing: Writing) -> None:
        if self.run.world.is_main:
            self.run.log.info("saved %s", writing.path)
        self.run.saved_step = writing.step
