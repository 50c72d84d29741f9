"""What a run leaves behind in its process is met by the contract and named, whatever it is."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import nn

sys.path.insert(0, str(Path(__file__).parent))
from bad_plugins import Messy, complaint


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that the messes below change, put back."""
    monkeypatch.setenv("MESS", "before")
    monkeypatch.setattr(nn.Dense, "construct", nn.Dense.construct)
    monkeypatch.chdir(".")
    handler, filters, states = (
        signal.getsignal(signal.SIGUSR1),
        [*warnings.filters],
        (random.getstate(), np.random.get_state()),
    )
    yield
    signal.signal(signal.SIGUSR1, handler)
    logging.disable(logging.NOTSET)
    warnings.filters[:] = filters  # type: ignore[index]
    random.setstate(states[0])
    np.random.set_state(states[1])


def construct(self: Any, x: Any) -> Any:
    """Another one for Dense, which computes the same here."""
    return dense(self, x)


dense = nn.Dense.construct
LEFT = {
    "the thread mess": lambda: threading.Thread(target=time.sleep, args=(3,), name="mess").start(),
    "os.environ['MESS']": lambda: os.environ.pop("MESS"),
    "the handler of SIGUSR1": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "the level of logging.disable": lambda: logging.disable(logging.DEBUG),
    "the warnings filters": lambda: warnings.simplefilter("ignore"),
    "the working directory": lambda: os.chdir("/"),
    "the seed of random": lambda: random.seed(7),
    "the seed of np.random": lambda: np.random.seed(7),
    "mindspore.nn.layer.basic.Dense.construct": lambda: setattr(nn.Dense, "construct", construct),
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.usefixtures("restored")
def test_what_a_run_leaves_behind_is_met(left: str) -> None:
    kind = type("Messy", (Messy,), {"__doc__": "Messy.", "mess": staticmethod(LEFT[left])})
    said = complaint(kind, "it_leaves_nothing_behind")
    assert said.startswith(f"a run that it took part in leaves behind: {left}: stop in close what the plugin started")
