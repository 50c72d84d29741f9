"""From samples to batches: in the plan's order, loaded ahead by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import images
from ..formats import Source, Stream, WrongSampleError
from ..makers import answering
from ..plan import Order
from .bucket_order import BucketOrder
from .buckets import Frame
from .lanes import Lanes
from .loader import Loader, Row
from .quarantine import Quarantine
from .streaming import Read, StreamLoader, read

if TYPE_CHECKING:
    from ..run import Run


@dataclass(frozen=True)
class Batch:
    """What one process computes in one optimizer step.

    Attributes:
        step: optimizer steps done before it.
        columns: arrays ``[per_batch_size, ...]``, or ``[gradient_accumulation_steps, per_batch_size, ...]`` when
            gradients are accumulated; in the order of ``Task.columns``.
    """

    step: int
    columns: tuple[np.ndarray, ...]


class Dataset(Protocol):
    """Batches that can start at any step."""

    samples: int
    """Samples in an epoch, over all processes."""

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Yield this process's batches of the steps first, first + 1, ..., last - 1."""
        ...

    def frame(self, step: int) -> Frame | None:
        """Height and width of the pictures in a step; None when all steps have the same shapes."""
        ...

    def state(self, position: int) -> dict[str, Any]:
        """What a checkpoint must hold to go on at a global sample position: JSON."""
        ...

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """Go on at a position, before the first batch, with what ``state`` returned there."""
        ...

    def close(self) -> None:
        """Close files."""
        ...


class Pipeline:
    """The core's dataset, prepared ahead by threads: decoding and resizing release the GIL.

    Attributes:
        source: an indexed source or a stream. Whoever wraps it does so before the first batch.
        decode: how pictures are decoded.
    """

    def __init__(
        self,
        run: Run,
        source: Source | Stream,
        samples: int,
        make_order: Callable[[], Order] | None,
    ) -> None:
        """Take what is known before the task is.

        Args:
            samples: in an epoch.
            make_order: makes the order of an indexed source when the task is there; None for a stream, which has an
                order of its own.
        """
        cfg = run.cfg
        self.run, self.source, self.samples, self.make_order = run, source, samples, make_order
        self.opened = source
        self.decode = images.decoder(cfg.data.decoder, cfg.data.max_pixels)
        self.workers, self.prefetch = cfg.data.workers, cfg.data.prefetch
        self.micros, self.size = cfg.gradient_accumulation_steps, cfg.per_batch_size
        self.lanes = Lanes(len(source), self.size, run.world.size)
        self.quarantine: Quarantine | None = None

    @cached_property
    def order(self) -> Order | None:
        """Of an indexed source; None for a stream. Made at first use: buckets depend on the task."""
        return self.make_order() if self.make_order else None

    def frame_of(self, index: int) -> Frame | None:
        """Height and width of the bucket of a sample, by its index in the source; None without buckets."""
        return self.order.frame_of(index) if self.order else None

    def positions(self, step: int) -> list[int]:
        """Global positions of this process's samples in one step, micro-batch by micro-batch.

        Processes take neighbouring slices of every micro-batch: two of batch 2 see together what one of batch 4 sees.
        """
        run, size = self.run, self.size
        start = self.position(step)
        return [
            start + (micro * run.world.size + run.world.rank) * size + place
            for micro in range(self.micros)
            for place in range(size)
        ]

    def position(self, step: int) -> int:
        """Global position of a step's first sample."""
        run = self.run
        return int(run.first_position + (step - run.first_step) * run.global_batch)

    def collate(self, step: int, rows: list[Row]) -> Batch:
        """Stack rows into columns."""
        lead = (self.micros, self.size) if self.micros > 1 else (self.size,)
        stacked = [np.stack([row[name] for row in rows]) for name in self.run.task.columns]
        return Batch(step, tuple(column.reshape(lead + column.shape[1:]) for column in stacked))

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """See :class:`Dataset`."""
        pending: deque[Future[Batch]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="mindloom-data")
        reader = ThreadPoolExecutor(1, thread_name_prefix="mindloom-read")
        stacker = ThreadPoolExecutor(1, thread_name_prefix="mindloom-batch")  # so that the loop gets whole batches
        submit = self._indexed(pool) if self.order else self._streamed(pool, reader, first)
        try:
            for step in range(first, last):
                pending.append(stacker.submit(self._finish, step, submit(self.positions(step))))
                if len(pending) > self.prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            # Waits for the samples at work: whoever closes this may close their files next.
            for threads in (pool, reader, stacker):
                threads.shutdown(wait=True, cancel_futures=True)

    def _finish(self, step: int, futures: list[Future[Row]]) -> Batch:
        try:
            return self.collate(step, [future.result() for future in futures])
        except WrongSampleError as error:
            from .opening import offered

            if self.source is not self.opened:
                raise
            with answering(
                self.run.plugins,
                "add_formats",
                [offered(self.run)[1]],
                type(self.source).__dict__.get("__getitem__" if self.order else "read"),
            ):
                raise error

    def _indexed(self, pool: ThreadPoolExecutor) -> Callable[[list[int]], list[Future[Row]]]:
        assert self.order is not None
        source: Any = self.source
        load = Loader(source, self.run.task, self.order, self._quarantine(), self.decode)
        return lambda positions: [pool.submit(load, position) for position in positions]

    def _streamed(
        self, pool: ThreadPoolExecutor, reader: ThreadPoolExecutor, first: int
    ) -> Callable[[list[int]], list[Future[Row]]]:
        """Read a step's samples in the one thread that reads; each is decoded as soon as all of them are there."""
        stream: Any = self.source
        load = StreamLoader(stream, self.run.task, self.run.cfg.seed, self._quarantine(), self.decode)
        items = read(stream, self.lanes, self.run.world.rank, self.position(first))

        def job(position: int, raws: Future[list[Read]], place: int) -> Row:
            return load(position, raws.result()[place])

        def submit(positions: list[int]) -> list[Future[Row]]:
            raws = reader.submit(lambda: list(islice(items, len(positions))))
            return [pool.submit(job, position, raws, place) for place, position in enumerate(positions)]

        return submit

    def _quarantine(self) -> Quarantine:
        """The one of this run, made when the run folder is there."""
        if self.quarantine is None:
            run, data = self.run, self.run.cfg.data
            self.quarantine = Quarantine(run.path, len(self.source), data.max_broken, run.world.rank, run.log)
        return self.quarantine

    def frame(self, step: int) -> Frame | None:
        """See :class:`Dataset`."""
        if not isinstance(self.order, BucketOrder):
            return None
        return self.order.frames[self.order.bucket(self.position(step))]

    def state(self, position: int) -> dict[str, Any]:
        """See :class:`Dataset`."""
        return {"count": len(self.source), **(self.order.state(position) if self.order else self.lanes.state(position))}

    def resume(self, state: Mapping[str, Any], position: int) -> None:
        """See :class:`Dataset`."""
        count = state.get("count", len(self.source))
        if count != len(self.source):
            self.run.log.warning(
                "the data set has %d samples, the checkpoint was made with %d: within this epoch some may come twice "
                "or not at all",
                len(self.source),
                count,
            )
        if self.order:
            self.order.resume(state, position)
        else:
            self.lanes.resume(state, position)

    def close(self) -> None:
        """Close the source."""
        close = getattr(self.source, "close", None)
        if close is not None:
            close()
