"""The order of samples in an epoch, and reading any range of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from mindloom.formats import RawSample, SampleError
from mindloom.plan import stream
from mindloom.shards import Shard, is_url

from .readers import Local, Reader
from .remote import Remote

LOG = logging.getLogger("mindloom")


class Shards:
    """A stream of the samples in tar shards.

    Every epoch has its own order: shards are permuted, then samples within blocks of ``buffer`` consecutive ones.
    Blocks do not depend on where reading begins, unlike a rolling shuffle buffer: so a resumed run needs one block to
    go on with the same samples. Of a local block only places are held, of a remote one the samples.

    Args:
        shards: with known counts.
        caption_key: see :func:`mindloom.shards.sample_of`.
        seed: of the run.
        shuffle: False reads shards and samples as they come.
        buffer: samples that are shuffled together, 1 for none.
    """

    def __init__(self, shards: Sequence[Shard], caption_key: str, seed: int, shuffle: bool, buffer: int) -> None:
        self.shards, self.caption_key = list(shards), caption_key
        self.seed, self.shuffle, self.buffer = seed, shuffle, buffer
        self.counts = np.array([shard.samples for shard in shards], np.int64)
        self.total = int(self.counts.sum())
        self.warned: set[str] = set()

    def __len__(self) -> int:
        return self.total

    def read(self, epoch: int, start: int, stop: int) -> Iterator[RawSample | SampleError]:
        """Yield the samples start, ..., stop - 1 of an epoch's order; broken ones as errors.

        Shards before and after that range are not opened.

        Raises:
            TrainingError: a remote shard could not be fetched.
        """
        order = self._permutation(epoch, "shards", len(self.shards))
        ends = np.cumsum(self.counts[order])
        readers: dict[int, Reader] = {}
        try:
            for block in range(start // self.buffer, -(-stop // self.buffer)):
                first = block * self.buffer
                size = min(self.buffer, self.total - first)
                places = first + self._permutation(epoch, f"block {block}", size)
                places = places[max(start - first, 0) : stop - first]
                turns = np.searchsorted(ends, places, side="right")
                numbers = places - (ends - self.counts[order])[turns]
                wanted = list(zip(order[turns].tolist(), numbers.tolist(), strict=True))
                yield from self._block(wanted, readers)
        finally:
            for reader in readers.values():
                reader.close()

    def _block(self, wanted: list[tuple[int, int]], readers: dict[int, Reader]) -> Iterator[RawSample | SampleError]:
        """Yield samples by (shard, number in it), and keep readers open for a next block in the same shards."""
        needed: dict[int, list[int]] = {}
        for shard, number in wanted:
            needed.setdefault(shard, []).append(number)
        for shard in [shard for shard in readers if shard not in needed]:
            readers.pop(shard).close()
        for shard in sorted(needed):
            if shard not in readers:
                kind = Remote if is_url(self.shards[shard].url) else Local
                readers[shard] = kind(self.shards[shard], self.caption_key, self._warn)
            readers[shard].prepare(needed[shard])
        for shard, number in wanted:
            yield readers[shard].sample(number)

    def _permutation(self, epoch: int, purpose: str, count: int) -> np.ndarray:
        if not self.shuffle or count < 2:
            return np.arange(count)
        return stream(self.seed, epoch, purpose).permutation(count)

    def _warn(self, url: str, text: str) -> None:
        """Warn of a shard once, however often it is read."""
        if url not in self.warned:
            self.warned.add(url)
            LOG.warning("%s", text)
