"""What the contents of samples hash to, remembered by the samples' stamps, so that nothing is read twice to know it."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .disk import writing

DIGEST = 32


def digest(content: Any) -> bytes:
    """Hash bytes or a text.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if not isinstance(content, bytes):
        raise ValueError(f"a {type(content).__name__} where bytes or a text should be")
    return hashlib.sha256(content).digest()


class Seen:
    """Stamp -> digest of each field, in files that processes add to; a file that cannot be read is removed.

    Args:
        folder: where the files are.
        fields: of raw samples; every set of fields has files of its own.
    """

    def __init__(self, folder: Path, fields: Sequence[str]) -> None:
        self.folder, self.prefix = folder, "+".join(fields)
        self.dtype = np.dtype([("stamp", "S16"), ("digests", "u1", (len(fields), DIGEST))])
        self.rows = np.empty(0, self.dtype)

    @staticmethod
    def stamp(text: str) -> bytes:
        """Shorten a stamp to 16 bytes."""
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]

    def load(self) -> None:
        """Read all files."""
        parts = [self.rows[:0]]
        for path in sorted(self.folder.glob(f"{self.prefix}.*.npy")):
            found = _read(path)
            if found is None or found.dtype != self.dtype:
                with suppress(OSError):
                    path.unlink()
            else:
                parts.append(found)
        rows = np.concatenate(parts)
        self.rows = rows[np.argsort(rows["stamp"], kind="stable")]

    def find(self, stamps: np.ndarray) -> np.ndarray:
        """Rows of stamps ``S16 [n]``; -1 where there is none."""
        if not len(self.rows):
            return np.full(len(stamps), -1)
        place = np.searchsorted(self.rows["stamp"], stamps)
        place[place == len(self.rows)] = 0
        return np.where(self.rows["stamp"][place] == stamps, place, -1)

    def add(self, rows: Sequence[tuple[bytes, Sequence[bytes]]], token: str) -> None:
        """Write rows to a new file; ``token`` is part of its name.

        Raises:
            TrainingError: the disk is full, or may not be written.
        """
        if not rows:
            return
        table = np.empty(len(rows), self.dtype)
        table["stamp"] = [stamp for stamp, _ in rows]
        joined = b"".join(b"".join(digests) for _, digests in rows)
        table["digests"] = np.frombuffer(joined, np.uint8).reshape(table["digests"].shape)
        data = io.BytesIO()
        np.save(data, table, allow_pickle=False)
        name = f"{self.prefix}.{token}.{uuid.uuid4().hex}.{_sum(data.getvalue())}.npy"
        with writing(self.folder / name) as part, open(part, "wb") as file:
            file.write(data.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def forget(self, token: str) -> None:
        """Remove the files of a token."""
        for path in self.folder.glob(f"{self.prefix}.{token}.*.npy"):
            path.unlink(missing_ok=True)


def _sum(data: bytes) -> str:
    """The end of a file's name: a damaged file would give samples contents that they do not have."""
    return hashlib.sha256(data).hexdigest()[:16]


def _read(path: Path) -> np.ndarray | None:
    try:
        data = path.read_bytes()
        if path.name.split(".")[-2] != _sum(data):
            return None
        found: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found
