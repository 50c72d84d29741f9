"""Reading the samples of a shard that a program delivers: ``pipe:`` and the URLs that webdataset knows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from mindloom.errors import TrainingError
from mindloom.formats import RawSample, SampleError
from mindloom.shards import Shard, split_name

from .readers import Builder, Members, Warn

REST = 1 << 16
"""Bytes read at a time of what follows the samples."""


class Remote(Builder):
    """Samples in the order in which they come; those to be shuffled are kept until they are asked for."""

    def __init__(self, shard: Shard, caption_key: str, warn: Warn) -> None:
        super().__init__(shard, caption_key, warn)
        self.pipe: Any = None
        self.damage = self.reading = ""
        self.position = 0
        self.kept: dict[int, RawSample | SampleError] = {}
        self.coming = self._samples()

    def prepare(self, numbers: Sequence[int]) -> None:
        """Read on to the last of these samples and keep them.

        Raises:
            TrainingError: the shard could not be fetched.
        """
        wanted = set(numbers)
        self.kept = {}
        for key, members, again in islice(self.coming, max(wanted) + 1 - self.position):
            if self.position in wanted:
                self.kept[self.position] = self.build(key, members, again)
            self.position += 1

    def sample(self, number: int) -> RawSample | SampleError:
        """Hand out a sample that was made ready."""
        found = self.kept.pop(number, None)
        return self.missing(number, self.position, self.damage) if found is None else found

    def close(self) -> None:
        """End the program that delivers the shard, which would wait for readers otherwise."""
        self.coming.close()
        self.kept = {}
        if self.pipe is not None:
            self.pipe.proc.terminate()
            with suppress(OSError):  # that it was ended early
                self.pipe.close()

    def _samples(self) -> Generator[tuple[str, Members, bool], None, None]:
        """Yield key, members and whether the key was there before, of as many samples as were counted."""
        keys: set[str] = set()
        key, members, count = "", Members(), 0
        for name, data in self._members():
            parts = split_name(name)
            if parts is None:
                continue
            if members and parts[0] != key:
                count += 1
                if count == self.shard.samples:
                    self.extra()
                yield key, members, key in keys
                keys.add(key)
                members = []
                if count == self.shard.samples:
                    return
            key = parts[0]
            members.append((parts[1], data))
        cut = split_name(self.reading) if self.damage else None
        if members and (cut is None or cut[0] != key):
            yield key, members, key in keys

    def _members(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents; where the tar file is damaged, they end and ``damage`` says why."""
        from webdataset.gopen import gopen  # type: ignore[import-untyped]
        from webdataset.tariterators import tar_file_iterator  # type: ignore[import-untyped]

        try:
            self.pipe = gopen(self.shard.url)
            try:
                for member in tar_file_iterator(self.pipe, select_files=self._note):
                    self.reading = ""
                    yield member["fname"], member["data"]
            except OSError:
                raise
            except Exception as error:  # tarfile and the decompressors raise whatever they stumble over
                self.damage = str(error).partition(" @ ")[0]
            # To its end, or the program could not tell by its exit code whether it delivered all.
            while self.pipe.read(REST):
                pass
            self.pipe.close()
        except (OSError, ValueError, ImportError) as error:
            # Not the sample's fault: to go on without it would give other batches than a run that could read it.
            status = getattr(self.pipe, "status", None)
            reason = f"exit code {status}" if status else str(error)
            raise TrainingError(f"{self.shard.url} could not be fetched ({reason}): try again, --resume") from error

    def _note(self, name: str) -> bool:
        """Remember which member comes next: should it be cut off, so is its sample."""
        self.reading = name
        return True
