"""What a dataset format delivers: indexed samples or a stream of them, and the errors for broken ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .results import describe

if TYPE_CHECKING:
    from .world import World

RawSample = Mapping[str, Any]
"""``{"image": bytes of the picture's file, "caption": str, "id": str}``, not decoded.

Ids are unique in a data set. ``"where"`` may say where the sample lies (a file; a shard and its member), for people who
look for a broken one.
"""


LIKE = '{"image": bytes, "caption": str, "id": str}'


class SampleError(ValueError):
    """A sample that cannot be used: it goes into quarantine, another takes its place, and the run goes on.

    Args:
        reason: what is wrong with it, in a line.
        id: of the sample, as far as it is known.
        where: where it lies: a file, or a shard and its member.
    """

    def __init__(self, reason: str, id: str = "", where: str = "") -> None:
        super().__init__(reason)
        self.id, self.where = id, where


class WrongSampleError(TypeError):
    """What a format delivered is no sample at all: a mistake in its code, and not in the data."""


def checked(sample: Any, place: int) -> RawSample:
    """The sample, if it is one.

    Raises:
        WrongSampleError: it is no mapping, or its picture is no bytes.
    """
    if not isinstance(sample, Mapping):
        raise WrongSampleError(f"sample {place} must be a dict {LIKE}, not {describe(sample)}")
    if not isinstance(sample.get("image", b""), bytes | bytearray | memoryview):
        raise WrongSampleError(
            f"the image of sample {place} must be the bytes of a picture's file, not {describe(sample['image'])}"
        )
    return sample


class Source(Protocol):
    """Samples that can be read in any order.

    ``__getitem__`` is called from several threads at once. For a broken sample it raises :class:`SampleError`, or plain
    ``OSError``, ``ValueError`` or ``KeyError``.

    What else a source may have, each of it optional:

    - ``size(index) -> (width, height)`` of the upright picture, without reading the whole of it; it raises like
      ``__getitem__``. Buckets then start faster.
    - ``stamp(index) -> str`` changes when the sample does, and costs next to nothing (path, size, time). Caches then
      need not read what they know.
    - ``close()``, called at the end of the run.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...


@runtime_checkable
class Stream(Protocol):
    """Samples that are read one after another.

    The stream owns the order of an epoch, shuffled or not; the core owns the division among processes: each of them
    reads ranges of that order, one range at a time, in one thread.
    """

    def __len__(self) -> int:
        """Samples in an epoch, over all processes."""
        ...

    def read(self, epoch: int, start: int, stop: int) -> Iterator[RawSample | SampleError]:
        """Yield exactly the samples ``start``, ..., ``stop - 1`` of an epoch's order.

        The same arguments give the same samples on every process and in a resumed run. A broken sample is yielded as
        the error that it is, in its place. Closing the iterator frees what it holds.
        """
        ...


OpenFormat = Callable[[str, "World"], Source | Stream]
"""``open(path, world)``: raises ``UserError(..., setting="data.path")`` for a path that it cannot make sense of."""

WriteFormat = Callable[[Iterable[RawSample], Path], int]
"""``write(samples, folder)``: write them into a new, empty folder and return their number."""


@dataclass(frozen=True)
class Format:
    """A format that can be written too. ``add_formats`` takes it where a plain ``open`` would do."""

    open: OpenFormat
    write: WriteFormat | None = None
