"""Which steps share a dispatch."""

from __future__ import annotations

from collections.abc import Iterator


def chunks(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each dispatch; all but the first and the last one begin and end at multiples of ``size``.

    A run resumed in the middle of a chunk is back in step with its intervals after the first dispatch.
    """
    while first < last:
        end = min(last, first - first % size + size)
        yield first, end
        first = end
