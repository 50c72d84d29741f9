"""Computes what is missing, divided among the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
from mindloom import TrainingError

from .scan import BROKEN, ahead, key_of
from .seen import digest

if TYPE_CHECKING:
    from mindloom.frozen import Arrays, Decode, Frozen, Request

    from .place import Place
    from .progress import Progress
    from .store import Store, Writer

NOTHING = digest("")
"""Digest of the content of a request that has no field."""


@dataclass(frozen=True)
class Job:
    """A result to compute, and a sample that needs it."""

    key: bytes
    request: Request
    index: int
    content: bytes


class Needs:
    """What every sample may need.

    Args:
        digests, known: of ``scan.contents``, for ``fields``.
        frame_of: of the data set.
    """

    def __init__(
        self,
        frozen: Frozen,
        fields: Sequence[str],
        digests: np.ndarray,
        known: np.ndarray,
        frame_of: Callable[[int], tuple[int, int] | None],
    ) -> None:
        self.frozen, self.frame_of = frozen, frame_of
        self.place = {field: number for number, field in enumerate(fields)}
        self.digests, self.known = digests, known

    def __iter__(self) -> Iterator[list[Job]]:
        """The requests of one sample after another; none of a sample that could not be read."""
        for index, known in enumerate(self.known):
            yield self._jobs(index) if known else []

    def _jobs(self, index: int) -> list[Job]:
        jobs = []
        for request in self.frozen.requests(self.frame_of(index)):
            content = self.digests[index, self.place[request.field]].tobytes() if request.field else NOTHING
            jobs.append(Job(key_of(request, content), request, index, content))
        return jobs

    def missing(self, stores: Mapping[str, Store]) -> list[Job]:
        """What no store has, once each, grouped by part and variant."""
        found: dict[tuple[str, bytes], Job] = {}
        for job in (job for jobs in self for job in jobs):
            if job.key not in stores[job.request.part].index:
                found.setdefault((job.request.part, job.key), job)
        return sorted(found.values(), key=_group)

    def entries(self, stores: Mapping[str, Store], names: Sequence[str]) -> np.ndarray:
        """Numbers of entries int64 ``[samples, names]``; -1 for what a sample lacks."""
        table = np.full((len(self.known), len(names)), -1, np.int64)
        for index, jobs in enumerate(self):
            for column, job in enumerate(jobs):
                table[index, column] = stores[job.request.part].index.get(job.key, -1)
        return table


def _group(job: Job) -> tuple[str, str]:
    return job.request.part, job.request.variant


@dataclass(frozen=True)
class Worker:
    """Computes this process's share of the jobs; what is broken is left out, the run meets it again.

    Attributes:
        source, decode: of the data set.
        folder: where contents are remembered, to say so in errors.
        load: called before anything is encoded.
        writers: of every part.
        batch_size: contents encoded at once.
    """

    source: Any
    decode: Decode
    folder: Path
    frozen: Frozen
    load: Callable[[], None]
    writers: Mapping[str, Writer]
    batch_size: int
    place: Place
    progress: Progress

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Take the share; all of a batch have one part and variant, and hence one shape.

        Args:
            jobs: of all processes, grouped.
        """
        mine = [job for job in jobs if self.place.takes(int.from_bytes(job.key[:8], "big"))]
        self.progress.begin("encoding", len(mine))
        for share in (list(group) for _, group in groupby(mine, _group)):
            batch: list[tuple[Job, Arrays]] = []
            for number, (job, row) in enumerate(ahead(self.prepare, share, self.place.threads), 1):
                batch += [] if row is None else [(job, row)]
                if batch and (len(batch) == self.batch_size or number == len(share)):
                    self.encode(batch)
                    batch = []
        for writer in self.writers.values():
            writer.flush()
        self.progress.end()

    def prepare(self, job: Job) -> tuple[Job, Arrays | None]:
        """Read, decode, tokenise."""
        try:
            content: Any = ""
            if job.request.field:
                sample = self.source[job.index]
                content = sample[job.request.field]
                if digest(content) != job.content:
                    raise TrainingError(
                        f"sample {sample.get('id', f'#{job.index}')} is not what the cache remembers, although its "
                        f"size and time are the same: run rm {quote(str(self.folder))}/*.npy and start again, so that "
                        "all samples are read anew"
                    )
            return job, self.frozen.row(job.request, content, self.decode)
        except BROKEN:
            return job, None

    def encode(self, batch: Sequence[tuple[Job, Arrays]]) -> None:
        """Compute and write. Filled up with its last row: a batch of another size would compile another graph."""
        self.load()
        part = batch[0][0].request.part
        rows = [row for _, row in batch] + [batch[-1][1]] * (self.batch_size - len(batch))
        results = self.frozen.encode(part, rows)[: len(batch)]
        size = sum(self.writers[part].add(job.key, kept) for (job, _), kept in zip(batch, results, strict=True))
        self.progress.add(len(batch), size)
