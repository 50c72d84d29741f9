"""Ending generators, and the threads and files they hold, when their consumer is done and not some time later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ending(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close an iterator at the end of the block, if it can be closed: a plugin may return one that cannot.

    The traceback of an error keeps the frames that it passed, and with them generators that nobody reads any more.
    """
    try:
        yield items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
