"""Where the samples of a shard begin, found by reading its headers once."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import BinaryIO

from .finding import Shard
from .tars import DamagedError, groups


@dataclass(frozen=True)
class Walk:
    """All that is kept of a shard: eight bytes a sample.

    Attributes:
        starts: byte of each sample's first header.
        again: samples whose key an earlier one of the shard has.
        damage: why the walk ended before the end of the file.
        extra: the shard holds more samples than were counted; they are left out.
    """

    starts: array[int]
    again: set[int]
    damage: str = ""
    extra: bool = False


def walk(file: BinaryIO, shard: Shard) -> Walk:
    """Read the headers of a shard, as many samples as were counted."""
    starts = array("Q")
    again: set[int] = set()
    keys: set[str] = set()
    try:
        for number, group in enumerate(groups(file)):
            if number == shard.samples:
                return Walk(starts, again, extra=True)
            if group.key in keys:
                again.add(number)
            keys.add(group.key)
            starts.append(group.start)
    except DamagedError as error:
        return Walk(starts, again, str(error))
    return Walk(starts, again)


def left_out(shard: Shard) -> str:
    """The warning about more samples than were counted."""
    return f"{shard.url} holds more than its {shard.samples} counted samples: the rest is left out"


def duplicate(key: str) -> str:
    """The reason of a sample whose key another one has: ids tell samples apart."""
    return f"duplicate key: an earlier sample of the shard is called {key[:200]!r} too"


def missing(shard: Shard, found: int, damage: str) -> str:
    """The reason of a sample that was counted and is not there."""
    why = f" ({damage})" if damage else ""
    return f"missing from the shard: it holds {found} of {shard.samples} samples{why}"
