"""An open shard, read by position from several threads at once.

The package's own readers are not used. ``MMIndexedTar`` loops for ever on a header with a negative size, mixes samples
up when members have equal names, cuts long names, reads slow disks while no other thread may run, and a shard that is
cut off while it is mapped ends the process. ``TarFileReader`` loads pickles.
"""

from __future__ import annotations

import io
import os
import weakref
from functools import cached_property
from typing import BinaryIO, cast


class OpenShard:
    """One file, opened when it is first read, closed when nobody holds the object any more.

    So a shard that makes way for another stays readable for the threads that are at it.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @cached_property
    def descriptor(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    @property
    def version(self) -> tuple[int, int]:
        """Size in bytes and time of the last change in nanoseconds."""
        facts = os.fstat(self.descriptor)
        return facts.st_size, facts.st_mtime_ns

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes; unlike a slice of a memory map, other threads run while the disk is slow.

        Raises:
            OSError: they cannot be read.
            ValueError: the file ends before.
        """
        data = os.pread(self.descriptor, size, offset)
        if len(data) < size:  # a signal came, or more than the 2 GB that Linux reads at once; rare
            parts = [data]
            while data and (size := size - len(data)):
                data = os.pread(self.descriptor, size, offset := offset + len(data))
                parts.append(data)
            if size:
                raise ValueError(f"the shard ends {size} bytes early")
            data = b"".join(parts)
        return data

    def file(self, start: int = 0, size: int | None = None) -> BinaryIO:
        """A part of the shard as a file with a position of its own."""
        stop = self.version[0] if size is None else start + size
        return cast(BinaryIO, io.BufferedReader(_Part(self, start, stop)))


class _Part(io.RawIOBase):
    def __init__(self, shard: OpenShard, start: int, stop: int) -> None:
        super().__init__()
        self.shard, self.start, self.stop, self.place = shard, start, stop, start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: max(0, self.stop - self.place)]
        count = os.preadv(self.shard.descriptor, [view], self.place) if len(view) else 0
        self.place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: self.start, io.SEEK_CUR: self.place, io.SEEK_END: self.stop}[whence]
        if origin + offset < self.start:
            raise ValueError(f"negative seek position {origin + offset - self.start}")
        self.place = origin + offset
        return self.place - self.start
