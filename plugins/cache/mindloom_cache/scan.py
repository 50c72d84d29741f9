"""From samples to keys: what every sample's contents hash to, and hence which results it may need."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .seen import DIGEST, Seen, digest

if TYPE_CHECKING:
    from mindloom.frozen import Request

    from .place import Place
    from .progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")
BROKEN = (OSError, ValueError, KeyError)
"""What a source or a task raises for a sample that cannot be used."""


def ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Map in threads, in order, with no more than a few results waiting."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mindloom-cache")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 4 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def contents(
    source: Any, fields: Sequence[str], seen: Seen, token: str, place: Place, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Hash the fields of all samples, each process its share; samples whose stamp is known are not read.

    Args:
        token: the same on all processes and never before.

    Returns:
        digests uint8 ``[samples, fields, 32]``, and whether each sample could be read, bool ``[samples]``.
    """
    stamped = getattr(source, "stamp", None) is not None

    def stamp(index: int) -> bytes:
        try:
            return seen.stamp(source.stamp(index) if stamped else f"{token}/{index}")
        except BROKEN:
            return b""

    def read(index: int) -> list[bytes] | None:
        try:
            sample = source[index]
            return [digest(sample[field]) for field in fields]
        except BROKEN:
            return None

    stamps = np.array([stamp(index) for index in range(len(source))], "S16")
    seen.load()
    unknown = np.flatnonzero((seen.find(stamps) < 0) & (stamps != b"")).tolist()
    mine = [index for index in unknown if place.takes(index)]
    rows: list[tuple[bytes, list[bytes]]] = []
    progress.begin("reading", len(mine))
    for index, found in zip(mine, ahead(read, mine, place.threads), strict=True):
        if found is not None:
            rows.append((bytes(stamps[index]).ljust(16, b"\0"), found))
        progress.add(1)
    progress.end()
    kept = "stamped" if stamped else token
    seen.add(rows, kept)
    place.wait()

    def look() -> np.ndarray:
        seen.load()
        return np.where(stamps != b"", seen.find(stamps), -1)

    where = place.agree(look, lambda found: found >= 0)
    known = where >= 0
    if not stamped and place.world.is_main:
        seen.forget(kept)
    digests = np.zeros((len(source), len(fields), DIGEST), np.uint8)
    digests[known] = seen.rows["digests"][where[known]]
    return digests, known


def key_of(request: Request, content: bytes) -> bytes:
    """The key of a result among those of its part, by the digest of its content."""
    return hashlib.sha256(f"{request.variant}\0".encode() + content).digest()
