"""The results of one part of a model: a folder of files that many processes may add to, found by key."""

from __future__ import annotations

import logging
import time
import uuid
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np
from mindloom import TrainingError

from . import shard
from .shard import Arrays, DamagedError, Layout

ENTRIES, BYTES, SECONDS = 256, 128 << 20, 60.0
"""A file is written when it would hold as many entries or bytes, or when its first entry has waited so long."""

FORGOTTEN = 24 * 3600
"""Seconds after which half a file of a killed process is removed."""


class Store:
    """Results by key. Reading is for many threads at once; what is read is compared with its hash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: dict[bytes, int] = {}
        self.files: list[Path] = []
        self.layouts: list[Layout] = []
        self.seen: set[str] = set()
        self.file_of, self.layout_of, self.starts = array("L"), array("L"), array("Q")
        self.keys, self.digests = bytearray(), bytearray()

    def load(self, log: logging.Logger, is_main: bool) -> None:
        """Take notice of files that were not there before. Unreadable ones are set aside by the main process."""
        numbers = {layout: number for number, layout in enumerate(self.layouts)}
        for path in sorted(self.folder.glob(f"*{shard.SUFFIX}")):
            if path.name in self.seen:
                continue
            try:
                found = shard.entries(path)
            except DamagedError as error:
                if is_main:
                    aside = path.with_name(f"{path.name}.damaged")
                    path.replace(aside)
                    log.warning("%s is damaged (%s): set aside as %s, computed again", path, error, aside.name)
                continue
            except FileNotFoundError:  # set aside by the main process just now
                continue
            self.seen.add(path.name)
            self.files.append(path)
            for entry in found:
                if entry.layout not in numbers:
                    numbers[entry.layout] = len(self.layouts)
                    self.layouts.append(entry.layout)
                self.index[entry.key] = len(self.starts)
                self.file_of.append(len(self.files) - 1)
                self.layout_of.append(numbers[entry.layout])
                self.starts.append(entry.start)
                self.keys += entry.key
                self.digests += entry.digest
        if is_main:
            self._sweep()

    def _sweep(self) -> None:
        for path in self.folder.glob(f"*{shard.PART}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > FORGOTTEN:
                    path.unlink()

    def read(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of an entry by its number in ``index``; float16 is widened to float32.

        Raises:
            TrainingError: the file was damaged or removed after it had been found.
        """
        path, layout = self.files[self.file_of[number]], self.layouts[self.layout_of[number]]
        key, digest = (bytes(kept[32 * number : 32 * number + 32]) for kept in (self.keys, self.digests))
        try:
            arrays = shard.read(path, self.starts[number], key, layout, digest)
        except (DamagedError, OSError) as error:
            raise TrainingError(
                f"{path} is damaged ({error}): delete it and start again, what it held is computed anew"
            ) from error
        return {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in arrays.items()}


class Writer:
    """Gathers results and writes them as files of a store's folder.

    Args:
        rank: of this process, for the files' names.
        dtype: ``"float32"`` or ``"float16"``, of arrays of floating point numbers.
    """

    def __init__(self, folder: Path, rank: int, dtype: str) -> None:
        self.folder, self.rank, self.dtype = folder, rank, np.dtype(dtype)
        self.waiting: list[tuple[bytes, Arrays]] = []
        self.bytes, self.since = 0, 0.0

    def add(self, key: bytes, arrays: Arrays) -> int:
        """Take a result; return its size in bytes.

        Raises:
            TrainingError: it holds NaN or infinity, or the disk is full.
        """
        with np.errstate(over="ignore"):
            lowered = {name: a.astype(self.dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}
        for name, a in lowered.items():
            if a.dtype.kind == "f" and not np.isfinite(a).all():
                raise TrainingError(
                    f"{name} holds numbers that {self.dtype} cannot: check the weights"
                    + (", or set plugins.cache.dtype=float32" if self.dtype == np.float16 else "")
                )
        self.since = self.since if self.waiting else time.monotonic()
        self.waiting.append((key, lowered))
        size = sum(a.nbytes for a in lowered.values())
        self.bytes += size
        if len(self.waiting) >= ENTRIES or self.bytes >= BYTES or time.monotonic() - self.since > SECONDS:
            self.flush()
        return size

    def flush(self) -> None:
        """Write what is waiting."""
        if not self.waiting:
            return
        path = self.folder / f"{self.rank:04d}-{uuid.uuid4().hex}{shard.SUFFIX}"
        try:
            shard.write(path, self.waiting)
        except OSError as error:
            raise TrainingError(
                f"{path} cannot be written ({error.strerror}): free space or set plugins.cache.folder"
            ) from error
        self.waiting, self.bytes = [], 0
