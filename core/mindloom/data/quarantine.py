"""Samples that could not be used: written down, counted, and no longer borne when they are too many."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from pathlib import Path

from ..errors import UserError

FILE = "quarantine.jsonl"


class Quarantine:
    """The broken samples of a run, each written once to ``quarantine.jsonl``: id, reason, where.

    All processes of a run append to one file, and each counts what all of them wrote since it started, as far as they
    share a folder.

    Args:
        folder: the run folder; None writes nothing.
        samples: in the data set.
        share: of the samples that may be broken, rounded up.
        rank: of this process.
    """

    def __init__(self, folder: Path | None, samples: int, share: float, rank: int, log: logging.Logger) -> None:
        # Multiplying may exceed a whole number by a rounding error.
        self.allowed = math.ceil(share * samples - 1e-9)
        self.path = folder / FILE if folder else None
        self.rank, self.log = rank, log
        self.reasons: dict[str, str] = {}
        self.lock = threading.Lock()
        self.known, self.start = self._earlier()

    def _earlier(self) -> tuple[set[str], int]:
        """Ids written by earlier parts of the run, and the length of the file."""
        try:
            data = self.path.read_bytes() if self.path else b""
        except OSError:
            return set(), 0
        return {found for line in data.splitlines() if (found := _id(line))}, len(data)

    def note(self, sample: str, reason: str, where: str = "") -> None:
        """Take in a sample; the same one again changes nothing.

        Raises:
            UserError: there are now more than allowed.
        """
        with self.lock:
            if sample in self.reasons:
                return
            self.reasons[sample] = reason
            place = f" ({where})" if where and where != sample else ""
            self.log.warning("skipped broken sample %s%s (%d so far): %s", sample, place, len(self.reasons), reason)
            if sample not in self.known:
                self._write({"id": sample, "reason": reason, "where": where, "rank": self.rank})
            count = max(len(self.reasons), self._count())
            if count > self.allowed:
                listed = f", all listed in {self.path}" if self.path and self.path.exists() else ""
                raise UserError(
                    f"{count} samples are broken, more than the {self.allowed} allowed, the last one {sample} "
                    f"({reason}){listed}: repair the data or raise data.max_broken",
                    setting="data.max_broken",
                )

    def _write(self, entry: dict[str, str | int]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One write of one line: appending is atomic between processes.
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
            finally:
                os.close(file)
        except OSError as error:
            self.log.warning("%s cannot be written: %s", self.path, error.strerror)
            self.path = None

    def _count(self) -> int:
        """Different samples that all processes wrote since this one started."""
        try:
            data = self.path.read_bytes()[self.start :] if self.path else b""
        except OSError:
            return 0
        return len({found for line in data.splitlines() if (found := _id(line))} | self.reasons.keys())


def _id(line: bytes) -> str:
    try:
        entry = json.loads(line)
        return str(entry["id"])
    except (ValueError, KeyError, TypeError):
        return ""
