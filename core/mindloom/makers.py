"""Who made what the core uses long after a hook returned it: an error in using it still names them.

Such an error may show none of the plugin's code: an answer that takes other arguments, returns something else, or is
refused by MindSpore's compiler, which names no file then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .blame import at, blamed, culprit, last_line
from .errors import TrainingError, UserError
from .results import describe

if TYPE_CHECKING:
    from .registry import Registry

STEP = (
    "make_optimizer",
    "make_reducer",
    "add_grad_ops",
    "make_step",
    "make_stepper",
    "edit_model",
)
"""Hooks whose answers run in the training step, beside the task."""
PERHAPS = "perhaps in what "
"""How a note begins that names suspects, where nobody can be convicted."""


def makers(registry: Registry, hook: str) -> list[str]:
    """Names of the plugins that fill a hook or wrap it."""
    return [*registry.fillers(hook), *registry.fillers(hook, wrappers=True)]


def suspects(registry: Registry, hooks: Sequence[str]) -> str:
    """The note that names those who answered these hooks, or the task's maker; empty if only the core did."""
    made = [f"{name!r} returned from {hook}" for hook in hooks for name in makers(registry, hook)]
    made = made or [f"{name!r} returned from make_task" for name in makers(registry, "make_task")]
    return PERHAPS + "or ".join(f"plugin {part} " for part in made).rstrip() if made else ""


@contextmanager
def suspecting(registry: Registry, hooks: Sequence[str] = STEP) -> Iterator[None]:
    """Name the suspects of an error that shows no plugin's code."""
    try:
        yield
    except (UserError, TrainingError):
        raise
    except Exception as error:
        if culprit(error, registry.plugins) is None and (note := suspects(registry, hooks)):
            error.add_note(note)
        raise


@contextmanager
def answering(registry: Registry, hook: str, names: Sequence[str], function: object = None) -> Iterator[None]:
    """Blame an error in the use of an answer on the plugin whose code it shows, or else on the one that gave it.

    Args:
        registry: has the plugins.
        hook: what was answered.
        names: who answered; with several, all are suspects.
        function: what is being called, to say where it was written.
    """
    try:
        yield
    except (UserError, TrainingError, KeyboardInterrupt):
        raise
    except BaseException as error:
        found = culprit(error, registry.plugins)
        name = found[0] if found else names[0] if len(names) == 1 else ""
        if name not in registry.plugins:
            if names and isinstance(error, Exception) and (note := suspects(registry, [hook])):
                error.add_note(note)
            raise
        kind = type(registry.plugins[name])
        line = last_line(error, kind) or written(function)
        raise blamed(error, name, kind, f"what it returned from {hook}", line) from error


def written(function: object) -> str:
    """File and line where a function begins; empty if that is not Python."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return at(code.co_filename, code.co_firstlineno) if code else ""


def answered(
    registry: Registry, hook: str, names: Sequence[str], function: Callable[..., Any], judge: Callable[[Any], str]
) -> Callable[..., Any]:
    """A function that plugins returned, with blame for what it raises and for answers that ``judge`` finds wrong."""

    def call(*arguments: Any) -> Any:
        with answering(registry, hook, names, function):
            answer = function(*arguments)
            if wrong := judge(answer):
                raise TypeError(wrong)
            return answer

    return call


def wrong_rate(rate: Any) -> str:
    """What is wrong with a learning rate; empty if nothing is."""
    try:
        finite = not isinstance(rate, str | bytes) and math.isfinite(rate)
    except (TypeError, ValueError):
        finite = False
    return "" if finite else f"the learning rate must be a finite number, not {describe(rate)}"
