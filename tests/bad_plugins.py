"""A good plugin, and one for each way of breaking the contract of plugins; and what the contract says of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from mindloom import Plugin, UserError, hookimpl
from mindloom.schema import setting
from mindloom.testing import PluginContract
from omegaconf import MISSING


def complaint(kind: type[Plugin], test: str, **terms: Any) -> str:
    """What one test of the contract says of a plugin; nothing if it is content."""
    contract = type("Contract", (PluginContract,), {"plugin": kind, "name": "bad", **terms})()
    try:
        getattr(contract, f"test_{test}")()
    except (AssertionError, UserError) as error:
        return str(error)
    return ""


def nudge(run: Any) -> None:
    """Change a weight."""
    import mindspore as ms

    bias = run.task.model.bias
    bias.set_data(ms.Tensor(bias.asnumpy() + np.float32(1)))


class Good(Plugin):
    """Counts steps, and remembers them."""

    @dataclass
    class Config:
        start: int = setting(0, "where counting begins")

    def __init__(self, cfg: Any = None) -> None:
        super().__init__(cfg)
        self.count = self.cfg.start
        self.history = np.zeros(0, np.int64)

    @hookimpl
    def on_step_end(self, run: Any, result: Any) -> None:
        """Count, and act on it."""
        self.count += result.n
        self.history = np.append(self.history, run.step) if run.step == 4 else self.history
        if self.count == 4:
            nudge(run)

    @hookimpl
    def add_metrics(self) -> dict[str, float]:
        """Show the count."""
        return {"count": self.count}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count, self.history = state["count"], state["history"]


class Silent(Good):
    @dataclass
    class Config:
        start: int = 0


class Idle(Plugin):
    """Does nothing."""


class Needy(Good):
    """Has a setting without a default."""

    @dataclass
    class Config:
        start: int = setting(0, "where counting begins")
        end: int = setting(MISSING, "where it ends")


class Escaped(Good):
    """Sets what is a reference when it is read again."""

    @dataclass
    class Config:
        start: int = setting(0, "where counting begins")
        file: str = setting("", "name of a file")

    @hookimpl
    def on_configure(self) -> None:
        """Fill in what was left open."""
        self.cfg.file = "${step}.png"


class Colour(Enum):
    RED = "red"


class Coloured(Good):
    """Has a default that YAML turns into a text."""

    @dataclass
    class Config:
        start: int = setting(0, "where counting begins")
        colour: Any = setting(Colour.RED, "of the lines")


class Picky(Good):
    """Cannot be made without settings."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)


class Unopened(Good):
    """Closes what may never have been opened."""

    @hookimpl
    def on_train_start(self) -> None:
        """Open."""
        self.file: list[int] = []

    def close(self) -> None:
        self.file.clear()


class Once(Unopened):
    """Can be closed once."""

    def close(self) -> None:
        if self.__dict__.pop("closed", True):
            self.closed = False
        else:
            raise ValueError("closed already")


class Lost(Good):
    """Forgets its state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class Unsavable(Good):
    """Saves what JSON does not know."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": {1, 2}}


class Unsaved(Good):
    """Saves nothing of what it acts on."""

    def state_dict(self) -> dict[str, Any]:
        return {}


class Calls(Good):
    """Takes each call for one step."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Miscount."""
        self.count += 1


class First(Good):
    """Does something else when it comes first."""

    @hookimpl
    def on_train_start(self, run: Any) -> None:
        """Act on it."""
        if next(iter(run.plugins.plugins)) == self.name and run.step == 0:
            nudge(run)


class Both(Good):
    """Does something else when a run is resumed in another order."""

    @hookimpl
    def on_resume(self, run: Any) -> None:
        """Act on it."""
        if next(iter(run.plugins.plugins)) != self.name:
            nudge(run)


def forgiving(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hides errors."""

    @functools.wraps(function)
    def hidden(*values: Any) -> Any:
        try:
            return function(*values)
        except Exception:
            return None

    return hidden


class Forgiving(Good):
    """Hides its own errors."""

    @hookimpl
    @forgiving
    def on_step_end(self, run: Any, result: Any) -> None:
        """Use what may fail."""
        self.count = run.step


class Leaving(Good):
    """Ends the process itself."""

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        """Give up early."""
        try:
            self.count = run.step
        except Exception:
            raise SystemExit(3) from None


class Sheltering(Good):
    """Hides what others do wrong."""

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Generator[None, Any, Iterator[Any]]:
        """Train nothing instead."""
        try:
            return (yield)
        except Exception:
            return iter(())


class Rewording(Good):
    """Takes the blame for others."""

    @hookimpl(wrapper=True)
    def make_stepper(self) -> Generator[None, Any, Iterator[Any]]:
        """Say it in other words."""
        try:
            return (yield)
        except Exception as error:
            raise RuntimeError("no stepper") from error


class Sulking(Good):
    """Fails once more when the run fails."""

    @hookimpl
    def on_exception(self, run: Any) -> None:
        """Ask for what there may not be."""
        print(run.moment)


class Messy(Good):
    """Leaves something behind: what ``mess`` does."""

    mess: Callable[[], object]

    @hookimpl
    def on_train_start(self) -> None:
        """Make it."""
        type(self).mess()
