"""Compiled graphs on disk: each entry is a folder under its key, written whole or not at all, and checked when read.

A graph can be whole and still bring the process down that loads it, such as one that another build of MindSpore wrote.
So a process leaves a locked file in the entry while it tries a graph. The kernel lets go of the lock when the process
ends, however it ends: a file without a lock says that somebody did not survive.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..locks import lock

LIMIT = 5 * 10**9
"""Bytes that all entries together may take."""
ABANDONED = 3600.0
"""Seconds after which an unfinished entry is taken for one whose process was killed."""
ABOUT, UNFINISHED, TRIED = "entry.json", ".new-", ".tried-"


class DamagedError(Exception):
    """An entry is not what was written; the text says how."""


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Trial:
    """That this process uses a graph which has not proved itself yet."""

    file: IO[bytes]
    path: Path

    def end(self, survived: bool) -> None:
        """Take the mark back, or leave it for the next process to find."""
        if survived:
            with suppress(OSError):  # the entry may be gone
                self.path.unlink()
        self.file.close()


@dataclass(frozen=True)
class Store:
    """Entries below a folder.

    Attributes:
        root: the folder; it need not exist, and need not be writable for reading.
        limit: bytes after which the entries that were not used for longest are dropped.
    """

    root: Path
    limit: int = LIMIT

    def take(self, key: str, folder: Path) -> bool:
        """Copy an entry's files to where they lay when it was written; tell whether there is one.

        Raises:
            DamagedError: it is incomplete, was changed or has failed; nothing is left in the folder.
            OSError: it cannot be copied.
        """
        entry = self.root / key
        if not entry.is_dir():
            return False
        for mark in entry.glob(f"{TRIED}*"):
            with suppress(FileNotFoundError), mark.open("rb") as file:
                if lock(file):
                    raise DamagedError("a process that used it did not survive")
        try:
            for name, (stored, wanted) in self._files(entry).items():
                copy = folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    shutil.copyfile(entry / stored, copy)
                except FileNotFoundError:
                    raise DamagedError("a file is missing") from None
                # The copy is checked, not the original: nobody else can change it between here and its use.
                if digest(copy) != wanted:
                    raise DamagedError("a file was changed or cut off")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(OSError):  # another user's
            os.utime(entry)
        return True

    def trial(self, key: str) -> Trial | None:
        """Say that an entry is about to be used; None where that cannot be written, as in another user's entry."""
        try:
            handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=self.root / key)
            file, path = os.fdopen(handle, "wb"), Path(name)
            lock(file)
            return Trial(file, path.rename(path.with_name(path.name.replace(UNFINISHED, TRIED))))
        except OSError:
            return None

    def _files(self, entry: Path) -> dict[str, tuple[str, str]]:
        """Name in the folder -> (name in the entry, digest)."""
        try:
            files = json.loads((entry / ABOUT).read_bytes())["files"]
            found = {str(name): (str(stored), str(wanted)) for name, (stored, wanted) in files.items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            raise DamagedError(f"its {ABOUT} cannot be read") from None
        if not found or any(".." in Path(name).parts or Path(name).is_absolute() for name in found):
            raise DamagedError(f"its {ABOUT} makes no sense")
        return found

    def put(self, key: str, files: Mapping[str, Path], parts: Mapping[str, str]) -> None:
        """Keep files under a key. When two processes do so at once, the first one wins: both mean the same.

        Args:
            key: of the entry.
            files: name to take it back by -> file.
            parts: what the key is made of, to tell later what has changed.

        Raises:
            OSError: the folder cannot be written, or is full.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
        try:
            about = {}
            for number, (name, path) in enumerate(sorted(files.items())):
                stored = f"{number}{path.suffix}"
                shutil.copyfile(path, fresh / stored)
                about[name] = (stored, digest(path))
            (fresh / ABOUT).write_text(json.dumps({"files": about, "parts": dict(parts)}, indent=1))
            fresh.chmod(0o755)
            try:
                fresh.rename(self.root / key)
            except OSError:
                if not (self.root / key).is_dir():
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        self.prune(key)

    def drop(self, key: str) -> None:
        """Remove an entry, if that is allowed. It vanishes at once, so that nobody reads what is half removed."""
        with suppress(OSError):
            doomed = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
            (self.root / key).rename(doomed / "entry")
            shutil.rmtree(doomed, ignore_errors=True)

    def changed_since(self, parts: Mapping[str, str]) -> list[str]:
        """Which parts differ from those of the most similar entry; empty when nothing is similar."""
        nearest: list[str] = []
        for entry in self._entries():
            try:
                other = json.loads((entry / ABOUT).read_bytes())["parts"]
                differing = [name for name, value in parts.items() if other.get(name) != value]
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            if other.get("cell") == parts["cell"] and differing and (not nearest or len(differing) < len(nearest)):
                nearest = differing
        return nearest

    def prune(self, kept: str = "") -> None:
        """Drop the entries that were not used for longest until the rest fits, and what killed processes left.

        Args:
            kept: a key to spare, even if it alone is too large.
        """
        with suppress(OSError):  # others prune too
            for unfinished in self.root.glob(f"{UNFINISHED}*"):
                if time.time() - unfinished.stat().st_mtime > ABANDONED:
                    shutil.rmtree(unfinished, ignore_errors=True)
        aged = []
        for entry in self._entries():
            with suppress(OSError):
                aged.append((entry.stat().st_mtime, sum(file.stat().st_size for file in entry.iterdir()), entry))
        total = 0
        for _, size, entry in sorted(aged, key=lambda one: (one[2].name != kept, -one[0])):
            total += size
            if total > self.limit and entry.name != kept:
                self.drop(entry.name)

    def _entries(self) -> Iterator[Path]:
        with suppress(OSError):
            yield from (path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
