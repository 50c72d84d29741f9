"""Files and folders that are on the disk, not only in the system's cache, before anything relies on them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 24


class Hashed:
    """A file to write to that knows its size and SHA-256, so that nothing is read a second time to hash it."""

    def __init__(self, raw: BinaryIO) -> None:
        self.raw, self.size, self.sha256 = raw, 0, hashlib.sha256()

    def write(self, data: Any) -> None:
        """Append the bytes of a buffer."""
        view = memoryview(data)
        self.raw.write(view)
        self.sha256.update(view)
        self.size += view.nbytes

    def receipt(self) -> dict[str, Any]:
        """What to compare the file with when it is read."""
        return {"size": self.size, "sha256": self.sha256.hexdigest()}


@contextmanager
def new_file(path: Path) -> Iterator[Hashed]:
    """Write a new file; it is on the disk when the context ends."""
    with open(path, "xb") as raw:
        yield Hashed(raw)
        raw.flush()
        os.fsync(raw.fileno())


def write(path: Path, data: bytes) -> dict[str, Any]:
    """Write a small file and return its receipt."""
    with new_file(path) as file:
        file.write(data)
    return file.receipt()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: a rename is not before its folder is."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sha256_of(path: Path) -> str:
    """Hash a file in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
