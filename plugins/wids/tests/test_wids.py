"""Samples of tar shards in any order: from one thread and from several, described or not, with bounded means."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom_wids.library import library

Make = Callable[..., Any]


def shuffled(count: int, seed: int = 0) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("lru", [1, 2, 64])
def test_every_order_gives_the_same_samples(shards: Make, opened: Make, picture: Make, workers: int, lru: int) -> None:
    source = opened(shards(), lru=lru)
    assert len(source) == 30
    order = [index for seed in range(5) for index in shuffled(30, seed)]
    with ThreadPoolExecutor(workers) as pool:
        for index, sample in zip(order, pool.map(source.__getitem__, order), strict=True):
            assert sample["image"] == picture(index)
            assert sample["caption"] == f"sample {index}"
            assert sample["id"] == f"{index // 10:03d}/{index:05d}"
            assert sample["where"].endswith(f"{index // 10:03d}.tar: {index:05d}.jpg")
    source.close()


def test_the_caption_key_is_a_setting(shards: Make, opened: Make) -> None:
    assert opened(shards(), caption_key="long")[7]["caption"] == "the long caption of 7"


def test_an_index_written_by_widsindex_is_taken_as_it_is(shards: Make, opened: Make) -> None:
    folder = shards()
    command = [sys.executable, "-m", "wids.wids_index", "create", "shards/{000..002}.tar", "-o", "index.json"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    Path("/tmp/shard.tar").unlink()  # where widsindex copies each shard, and leaves the last one
    assert done.returncode == 0, done.stderr
    assert [shard["nsamples"] for shard in json.loads((folder.parent / "index.json").read_text())["shardlist"]] == [
        10
    ] * 3
    source = opened(folder.parent / "index.json")
    assert [source[index]["caption"] for index in (29, 0, 15)] == ["sample 29", "sample 0", "sample 15"]
    assert sorted(os.listdir(folder)) == ["000.tar", "001.tar", "002.tar"]  # described: nothing had to be counted


def test_a_description_in_the_folder_goes_before_its_files(shards: Make, opened: Make) -> None:
    folder = shards()
    listed = [{"url": f"{number:03d}.tar", "nsamples": 10} for number in (2, 0)]
    (folder / "data_info.json").write_text(json.dumps({"wids_version": 1, "shardlist": listed}))
    source = opened(folder)
    assert len(source) == 20
    assert [source[index]["caption"] for index in (0, 10)] == ["sample 20", "sample 0"]


@pytest.mark.parametrize("url", ["https://example.org/0.tar", "pipe:cat 0.tar", "s3://bucket/0.tar"])
def test_shards_that_are_not_local_are_refused(tmp_path: Path, opened: Make, url: str) -> None:
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"wids_version": 1, "shardlist": [{"url": url, "nsamples": 10}]}))
    with pytest.raises(UserError, match=r"is not a local file.*download the shards first") as refusal:
        opened(index)
    assert refusal.value.setting == "data.path"


def test_nothing_is_said_and_nothing_left_behind(shards: Make, opened: Make, capfd: pytest.CaptureFixture[str]) -> None:
    source = opened(shards())
    for index in shuffled(30) * 10:
        source[index]
    source.close()
    assert capfd.readouterr() == ("", "")
    assert not list(Path(source.index.shards[0]["url"]).parent.glob("*.lock"))
    with pytest.raises(UserError, match="at least 1 shard") as refusal:
        opened(shards(), lru=0)
    assert refusal.value.setting == "plugins.wids.lru"


def test_the_size_is_read_from_the_members_beginning(shards: Make, opened: Make) -> None:
    source = opened(shards())
    assert [source.size(index) for index in (13, 4)] == [(11, 8), (12, 8)]


def test_stamps_tell_samples_and_shards_apart(shards: Make, opened: Make) -> None:
    folder = shards()
    source = opened(folder)
    stamps = [source.stamp(index) for index in range(30)]
    assert len(set(stamps)) == 30
    os.utime(folder / "001.tar", ns=(1, 1))
    again = [opened(folder).stamp(index) for index in range(30)]
    assert [place for place in range(30) if stamps[place] != again[place]] == list(range(10, 20))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_files_stay_few_and_are_closed(shards: Make, opened: Make) -> None:
    source = opened(shards(count=40, each=3), lru=4)
    gc.collect()
    before = open_files()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(source.__getitem__, shuffled(120) * 3))
    gc.collect()
    assert open_files() <= before + 4
    source.close()
    gc.collect()
    assert open_files() == before


def test_many_samples_start_at_once_and_memory_does_not_grow(shards: Make, opened: Make) -> None:
    folder = shards(count=20, each=500)
    library()  # where torch is installed, wids imports it
    began = time.perf_counter()
    source = opened(folder, lru=4)
    took = time.perf_counter() - began
    assert took < 5, f"counting 10 000 samples took {took:.1f} s"  # 0.6 s on an idle core
    began = time.perf_counter()
    source = opened(folder, lru=4)
    assert time.perf_counter() - began < 0.5
    order = shuffled(10_000)
    tracemalloc.start()
    try:
        for index in order[:1500]:
            source[index]
        first = tracemalloc.get_traced_memory()[0]
        for index in order[1500:3000]:
            source[index]
        assert tracemalloc.get_traced_memory()[0] - first < 50_000
        assert first < 500_000
    finally:
        tracemalloc.stop()
    assert sum(len(walk.starts) * walk.starts.itemsize for walk, _ in source.walks.values()) == 80_000
