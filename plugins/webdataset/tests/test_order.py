"""The order of an epoch: every sample once, seeded, and readable from any place to any other."""

from __future__ import annotations

import gc
import io
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindloom_webdataset import readers

COUNTS = (7, 1, 10, 0, 5)


@pytest.mark.parametrize("buffer", [0, 1, 4, 9, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_any_range_is_a_part_of_the_same_order(
    shards: Any, opened: Any, numbers: Any, shuffle: bool, buffer: int
) -> None:
    stream = opened(shards(*COUNTS), shuffle=shuffle, shuffle_buffer=buffer)
    assert len(stream) == 23
    whole = numbers(stream.read(2, 0, 23))
    assert sorted(whole) == list(range(23))
    for start in range(24):
        for stop in range(start, 24):
            assert numbers(stream.read(2, start, stop)) == whole[start:stop]


def test_without_shuffling_samples_come_as_they_lie(shards: Any, opened: Any, numbers: Any) -> None:
    stream = opened(shards(*COUNTS), shuffle=False)
    assert numbers(stream.read(0, 0, 23)) == numbers(stream.read(5, 0, 23)) == list(range(23))


def test_the_order_belongs_to_seed_and_epoch(shards: Any, opened: Any, numbers: Any) -> None:
    folder = shards(*COUNTS)

    def order(seed: int, epoch: int) -> list[int]:
        return numbers(opened(folder, seed=seed).read(epoch, 0, 23))

    assert order(3, 0) == order(3, 0)
    assert len({tuple(order(seed, epoch)) for seed in (3, 4) for epoch in range(3)}) == 6


def test_shards_and_samples_are_shuffled(shards: Any, opened: Any, numbers: Any) -> None:
    folder = shards(*[10] * 20)
    only_shards = np.array(numbers(opened(folder, shuffle_buffer=0).read(0, 0, 200))).reshape(20, 10)
    assert (np.diff(only_shards) == 1).all()
    assert (np.diff(only_shards[:, 0]) < 0).any()
    both = np.array(numbers(opened(folder, shuffle_buffer=50).read(0, 0, 200)))
    for block in range(4):
        assert set(both[block * 50 : block * 50 + 50] // 10) == set(only_shards[block * 5 : block * 5 + 5, 0] // 10)
    assert (both.reshape(4, 50) != only_shards.reshape(4, 50)).mean() > 0.9


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes read of each shard, by name."""
    counts: dict[str, int] = {}

    class Spy:
        def __init__(self, path: str, mode: str) -> None:
            self.file = io.FileIO(path, mode)  # no buffer: what is asked for is what is read
            self.name = os.path.basename(path)
            counts.setdefault(self.name, 0)

        def read(self, size: int = -1) -> bytes:
            data = self.file.read(size)
            counts[self.name] += len(data)
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Spy:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

    monkeypatch.setattr(readers, "open", Spy, raising=False)
    return counts


@pytest.mark.parametrize("buffer", [0, 8])
def test_resuming_reads_headers_and_what_is_left(
    shards: Any, opened: Any, read_bytes: dict[str, int], buffer: int
) -> None:
    stream = opened(shards(*[20] * 10, size=100_000), shuffle=bool(buffer), shuffle_buffer=buffer)
    assert not read_bytes
    assert len(list(stream.read(0, 191, 193))) == 2
    assert len(read_bytes) == 1
    [total] = read_bytes.values()
    assert 200_000 < total < 300_000


def test_nothing_stays_open(shards: Any, opened: Any) -> None:
    stream = opened(shards(*[2] * 100), shuffle_buffer=200)
    before = len(os.listdir("/proc/self/fd"))
    items = stream.read(0, 0, 200)
    for _ in range(150):
        next(items)
    assert len(os.listdir("/proc/self/fd")) == before
    items.close()


def test_many_readers_at_once_see_the_same(shards: Any, opened: Any, numbers: Any) -> None:
    stream = opened(shards(*COUNTS), shuffle_buffer=6)
    whole = numbers(stream.read(1, 0, 23))
    first, second = stream.read(1, 0, 23), stream.read(1, 5, 23)
    mixed = [(next(first), next(second)) for _ in range(18)]
    assert numbers(one for one, _ in mixed) == whole[:18]
    assert numbers(two for _, two in mixed) == whole[5:]


def test_ten_thousand_samples_start_at_once(
    tmp_path: Path, tar: Callable[..., Path], members: Any, opened: Any
) -> None:
    for shard in range(20):
        tar(tmp_path / f"{shard:02d}.tar", members(shard * 500, shard * 500 + 500, 5))
    opened(tmp_path)  # counts
    tracemalloc.start()
    began = time.perf_counter()
    stream = opened(tmp_path)
    assert time.perf_counter() - began < 0.5
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()
    seen = np.zeros(10_000, bool)
    objects = []
    for place, sample in enumerate(stream.read(0, 0, 10_000)):
        seen[int(sample["image"])] = True
        if place % 2500 == 1250:
            objects.append(len(gc.get_objects()))
    assert seen.all()
    assert objects[-1] < objects[0] + 2000  # the samples would be 7500 dicts and more
