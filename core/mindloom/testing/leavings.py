"""What a run may leave behind in its process, and must not: threads, settings of the process, patched functions."""

from __future__ import annotations

import inspect
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

PATCHED = ("mindspore.nn", "mindspore.ops", "mindspore.mint", "mindspore.Tensor", "mindspore.Parameter", "mindloom")
"""Where functions and methods are looked at: what cells and steps are made of."""
THREAD = "the thread "
PATIENCE = 1.0
"""Seconds that a thread has to end in, once its plugin is closed."""


def standing() -> dict[str, Any]:
    """What is shared by everything in this process, in words, with something that changes when it does.

    Of warnings, filters for all of them: libraries bring their own when they are imported.
    """
    import mindspore  # noqa: F401  (which changes some of it when it is imported)

    os.environ.setdefault("GLOG_v", "3")  # as the core does in every run
    found: dict[str, Any] = {f"os.environ[{key!r}]": value for key, value in os.environ.items()}
    found |= {f"the handler of {each.name}": signal.getsignal(each) for each in signal.valid_signals() if _known(each)}
    found["the working directory"] = os.getcwd()
    found["the level of logging.disable"] = logging.root.manager.disable
    found["the warnings filters"] = [each for each in warnings.filters if each[1:4] == (None, Warning, None)]
    return found | dict(_functions()) | {_thread(each): True for each in _threads()}


def left(before: Mapping[str, Any]) -> list[str]:
    """What is not as it was; threads are waited for a moment.

    What is new in the environment, and functions of modules imported since, are what libraries bring.
    """
    deadline = time.monotonic() + PATIENCE
    for each in _threads():
        if _thread(each) not in before:
            each.join(max(0.0, deadline - time.monotonic()))
    now = standing()
    started = [key for key in now if key.startswith(THREAD) and key not in before]
    changed = [key for key, value in before.items() if not key.startswith(THREAD) and now.get(key) != value]
    return started + changed


def generators() -> dict[str, int]:
    """The generators of random numbers that everybody shares: which sequence they are in, not how far."""
    sequences = {"random": random.getstate()[1][:-1], "np.random": np.random.get_state(legacy=False)["state"]["key"]}
    return {f"the seed of {name}": hash(bytes(np.asarray(key))) for name, key in sequences.items()}


def seeded(seed: int) -> tuple[dict[str, int], dict[str, int]]:
    """The same as the core leaves it, which seeds them when a run begins; and when some numbers have been drawn."""
    import mindspore as ms

    ms.set_seed(seed % 2**32)
    untouched = generators()
    random.random()
    np.random.rand()
    return untouched, generators()


def _known(number: Any) -> bool:
    return isinstance(number, signal.Signals)


def _threads() -> list[threading.Thread]:
    """Those that keep the process from ending."""
    return [each for each in threading.enumerate() if not each.daemon and each is not threading.current_thread()]


def _thread(each: threading.Thread) -> str:
    return f"{THREAD}{each.name}"


def _functions() -> Iterator[tuple[str, Any]]:
    for name, module in [*sys.modules.items()]:
        if not name.startswith(PATCHED) or module is None:
            continue
        for key, value in [*vars(module).items()]:
            if inspect.isfunction(value):
                yield f"{name}.{key}", value
            elif inspect.isclass(value) and value.__module__ == name:
                yield from ((f"{name}.{key}.{own}", f) for own, f in vars(value).items() if inspect.isfunction(f))
