"""Averaged copies of the trained parameters: saved as weights of their own, and shown in the model's place.

A plugin whose step keeps such copies says so with ``run.keep_averages``. Everybody else, such as who measures, draws or
saves, only knows this class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UserError

if TYPE_CHECKING:
    from mindspore import Parameter, Tensor

    from .checkpoint import Arrays, Snapshot
    from .run import Run
    from .snapshots import Host


class Averages:
    """Copies of trained parameters that a step updates.

    A checkpoint holds them as a group of its own: a complete model, with the averages in the place of what is trained.
    That file is both what people take away and what a resumed run goes on with, so nothing is stored twice.

    Args:
        name: of the plugin: what the file and the curves are called.
        copies: trained parameter and its float32 copy, a parameter of the step.
        counters: scalar parameters of the step that belong to the copies.

    Attributes:
        fresh: the copies are those of no weights yet. They are filled as late as possible, when nothing changes the
            weights any more but training: until then the averages are the weights themselves.
    """

    def __init__(
        self, name: str, copies: Sequence[tuple[Parameter, Parameter]], counters: Sequence[Parameter] = ()
    ) -> None:
        self.name, self.copies, self.counters, self.fresh = name, tuple(copies), tuple(counters), True

    @property
    def parameters(self) -> list[Parameter]:
        """Everything that is saved here, and so not with the optimizer."""
        return [*(copy for _, copy in self.copies), *self.counters]

    def fill(self) -> None:
        """Begin with the weights as they are now, unless there are averages already."""
        import mindspore as ms

        if self.fresh:
            for param, copy in self.copies:
                copy.set_data(ms.Tensor(param.asnumpy().astype(np.float32)))
            self.fresh = False

    def arrays(self, model: Arrays, host: Host) -> Arrays:
        """Host copies under the model's names, complete: what is not trained comes from ``model``."""
        self.fill()
        return {**model, **{param.name: host.copy(self.name, param.name, copy) for param, copy in self.copies}}

    def counts(self) -> dict[str, float]:
        """The counters' values."""
        return {counter.name: float(counter.asnumpy()) for counter in self.counters}

    def load(self, arrays: Arrays, counts: Mapping[str, float]) -> None:
        """Take back what was saved.

        Raises:
            UserError: other parameters were averaged.
        """
        import mindspore as ms

        for param, copy in self.copies:
            found = arrays.get(param.name)
            if found is None or found.shape != tuple(param.shape):
                raise UserError(
                    f"the checkpoint's averages ({self.name}) do not fit this run: {param.name}: "
                    "resume with the config it was made with",
                    setting="resume",
                )
            copy.set_data(ms.Tensor(found.astype(np.float32)))
        for counter in self.counters:
            counter.set_data(ms.Tensor(counts.get(counter.name, 0.0), counter.dtype))
        self.fresh = False

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the model has the averaged values; afterwards its own again, bit for bit, after errors too.

        Values are exchanged on the device within the same parameters, one at a time, so compiled graphs stay valid and
        no second copy of the model is needed. A parameter of lower precision could not be exchanged back: its trained
        value waits beside. Do not train or save inside.
        """
        with ExitStack() as back:
            for param, copy in () if self.fresh else self.copies:
                exchange(param, copy, back)
            yield


def exchange(param: Parameter, copy: Parameter, back: ExitStack) -> None:
    """Put the copy's value into the parameter, and the way back onto the stack before anything changes."""
    from mindspore import ops

    identity, assign, cast = ops.Identity(), ops.Assign(), ops.Cast()
    trained: Tensor = identity(param)
    if param.dtype != copy.dtype:
        back.callback(assign, param, trained)
        assign(param, cast(copy, param.dtype))
        return

    def swap(first: Any, second: Any) -> None:
        held = identity(first)
        assign(first, second)
        assign(second, held)

    back.callback(partial(swap, param, copy))
    swap(param, copy)


def restore_averages(run: Run, snapshot: Snapshot) -> None:
    """Go on with a checkpoint's averages, or say why not: between parts of a run they may be switched on and off."""
    saved = snapshot.meta.get("averages", {})
    mine = run.averages
    for name in saved:
        if mine is None or mine.name != name:
            run.log.info("the checkpoint's averaged weights (%s) are left out: the plugin is off", name)
    if mine is not None and mine.name in saved:
        mine.load(snapshot.arrays[mine.name], saved[mine.name])
    elif mine is not None:
        run.log.info("averaged weights (%s) start from those of step %d", mine.name, snapshot.meta["step"])
