"""How far a long piece of work is: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Thing = TypeVar("Thing")
FAST, SLOW = 0.2, 10.0
"""Seconds between two reports on a terminal and in a log."""


def shown(things: Iterable[Thing], total: int, what: str) -> Iterator[Thing]:
    """Yield the things and report on stderr; nothing is said of what is done within the first interval."""
    terminal = sys.stderr.isatty()
    began = said = time.monotonic()
    drawn = False
    try:
        for done, thing in enumerate(things, start=1):
            yield thing
            now = time.monotonic()
            if now - said < (FAST if terminal else SLOW):
                continue
            said = now
            rate = done / (now - began)
            left = f"{(total - done) / rate:.0f} s left"
            text = f"{what}: {done} of {total} ({100 * done / total:.0f} %), {rate:.0f} a second, {left}"
            print(f"\r{text:<78}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
            drawn = terminal
    finally:
        if drawn:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
