"""The runs that ``hooks.py`` measures."""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import mindloom.loop
import mindloom.session
from mindloom import Plugin, hookimpl
from mindloom.defaults import Defaults
from mindloom.discovery import discover
from mindloom.layers import Layers
from mindloom.registry import Registry
from mindloom.session import configure, execute
from mindloom.testing import Toy
from mindloom_checkpoint import Checkpoint
from mindloom_console import Console
from mindloom_ema import Ema
from mindloom_fp16 import Fp16
from mindloom_sdxl import Sdxl
from mindloom_tensorboard import Tensorboard
from mindloom_validate import Validate

IN_DISPATCH = ("on_step_start", "on_step_end", "add_metrics", "on_log")
WARM = 50
"""Dispatches left out at the start."""


class Listener(Sdxl):
    """Sdxl without its model, so that another task can train: what is left listens to logs."""

    make_task = None  # type: ignore[assignment]

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.tokenizer = SimpleNamespace(cut=0)  # type: ignore[assignment]


BUILDING: dict[str, type[Plugin]] = {"fp16": Fp16, "ema": Ema}
"""They change the step, so every case has them."""
LISTENING: dict[str, type[Plugin]] = {
    "console": Console,
    "tensorboard": Tensorboard,
    "checkpoint": Checkpoint,
    "validate": Validate,
    "sdxl": Listener,
}


@dataclass(frozen=True)
class Run:
    """What one run took, in microseconds.

    Attributes:
        listening: plugins with hooks in a dispatch.
        plain, logged: medians of what the hooks of a dispatch took.
        average: both weighed by how often they come.
        mean: of all dispatches.
        between: from the end of a dispatch until the next one is asked for, weighed likewise.
        dispatch: from one to the next, training included.
    """

    listening: list[str]
    plain: float
    logged: float
    average: float
    mean: float
    between: float
    dispatch: float


class Parts(NamedTuple):
    """Medians without and with a log, and both weighed by how often they come."""

    plain: float
    logged: float
    average: float


class Metered(Registry):
    """Notes how long the rounds of each dispatch take, and the loop between two dispatches."""

    current: Metered

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rounds: list[float] = []
        self.between: list[float] = []
        self.marks: list[float] = []
        Metered.current = self

    def measured(self, hook: str, ask: Callable[[], Any]) -> Any:
        if hook not in IN_DISPATCH or not self.rounds:
            return ask()
        began = time.perf_counter()
        answer = ask()
        self.rounds[-1] += time.perf_counter() - began
        return answer

    def call(self, hook: str, **arguments: Any) -> Any:
        answer = self.measured(hook, partial(super().call, hook, **arguments))
        return self.dispatches(answer) if hook == "make_stepper" else answer

    def call_ranked(self, hook: str, is_main: bool, **arguments: Any) -> None:
        self.measured(hook, partial(super().call_ranked, hook, is_main, **arguments))

    def collect(self, hook: str, **arguments: Any) -> Any:
        return self.measured(hook, partial(super().collect, hook, **arguments))

    def dispatches(self, stepper: Iterator[Any]) -> Iterator[Any]:
        """What comes between two dispatches begins behind the first one: the next ``on_step_start`` belongs to it."""
        for result in stepper:
            self.rounds.append(0.0)
            self.marks.append(time.perf_counter())
            yield result
            self.between.append(time.perf_counter() - self.marks[-1])


def everything(folder: Path, steps: int, log_interval: int, listening: bool, bare: bool) -> Run:
    """Train the toy task once."""
    held_out = folder / "held_out"
    data = folder / "data"
    held_out.mkdir()
    data.mkdir()
    classes: dict[str, type[Plugin]] = {"toy": Toy, **BUILDING, **(LISTENING if listening else {})}
    sections: dict[str, Any] = {"fp16": {"mode": "amp"}, "toy": {"samples": 100}}
    if listening:
        sections["checkpoint"] = {"every": 10 * steps}
        sections["validate"] = {"data_path": str(held_out), "every": 10 * steps, "samples": 4}
    layers = Layers()
    layers.set(
        {"max_steps": steps, "per_batch_size": 2, "log_interval": log_interval, "plugins": sections}, "benchmark"
    )
    layers.set({"data": {"path": str(data)}, "save_path": str(folder / "run"), "optim": {"lr": 0.01}}, "benchmark")
    loop = bare_loop(log_interval) if bare else mindloom.loop.dispatch_all
    with replaced(mindloom.session, "Registry", Metered), replaced(mindloom.loop, "dispatch_all", loop):
        execute(*configure(layers, classes))
    meter = Metered.current
    rounds, between = (divided(times, log_interval) for times in (meter.rounds, meter.between))
    return Run(
        listening=check_listening(meter) if listening else [],
        plain=rounds.plain,
        logged=rounds.logged,
        average=rounds.average,
        mean=1e6 * statistics.mean(meter.rounds[WARM:]),
        between=between.average,
        dispatch=1e6 * (meter.marks[-1] - meter.marks[WARM]) / (len(meter.marks) - 1 - WARM),
    )


def divided(times: list[float], log_interval: int) -> Parts:
    """Medians in microseconds, by whether a log was due. The last dispatch, after which a run ends, is left out."""
    numbered = [(number, 1e6 * seconds) for number, seconds in enumerate(times, 1)][WARM:-1]
    plain = statistics.median(time for number, time in numbered if number % log_interval)
    logged = statistics.median(time for number, time in numbered if not number % log_interval)
    return Parts(plain, logged, (plain * (log_interval - 1) + logged) / log_interval)


def bare_loop(log_interval: int) -> Callable[..., None]:
    """A loop that only drives the stepper and reads the loss as often as a log would."""

    def dispatch_all(run: Any, built: Any, saving: Any, listen: Any) -> None:
        for result in built.stepper:
            run.step += result.n
            if run.step % log_interval == 0:
                result.loss.asnumpy()

    return dispatch_all


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Put something else in a module's place for it."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def check_listening(registry: Registry) -> list[str]:
    """Names of the plugins under test with hooks in a dispatch; refuses to leave out a bundled one."""
    here = {name for hook in IN_DISPATCH for name in registry.fillers(hook)}
    bundled = {
        name
        for name, found in discover().items()
        if found.target.startswith("mindloom_") and any(hasattr(found.load(), hook) for hook in IN_DISPATCH)
    }
    if bundled - here:
        raise SystemExit(f"these have hooks in a dispatch and are not measured: {', '.join(sorted(bundled - here))}")
    return [name for name in registry.plugins if name in here]


class Idle(Plugin):
    """Listens to a whole dispatch, and does nothing."""

    @hookimpl
    def on_step_start(self, run: Any) -> None:
        """Nothing."""

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Nothing."""

    @hookimpl
    def on_log(self, run: Any, record: Any) -> None:
        """Nothing."""


def idle(plugins: int) -> tuple[float, float]:
    """Microseconds of a round without and with a log, with so many idle plugins."""
    registry = Registry({f"idle{number}": Idle() for number in range(plugins)}, Defaults())

    def plain() -> None:
        registry.call("on_step_start", run=None)
        registry.call("on_step_end", run=None, result=None)

    def logged() -> None:
        plain()
        registry.collect("add_metrics", run=None, result=None)
        registry.call_ranked("on_log", True, run=None, record=None)

    def microseconds(ask: Callable[[], None]) -> float:
        return 1e6 * min(timeit.repeat(ask, number=1000, repeat=5)) / 1000

    return microseconds(plain), microseconds(logged)
