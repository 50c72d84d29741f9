"""Shards that a program delivers: refused unless allowed, read in the same order, and ended in time."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.errors import TrainingError


def piped(folder: Path, *counts: int) -> Path:
    """Describe the shards of a folder as pipes."""
    entries = [{"url": f"pipe:cat {folder}/{number:03d}.tar", "nsamples": count} for number, count in enumerate(counts)]
    path = folder / "remote.json"
    path.write_text(json.dumps({"wids_version": 1, "shardlist": entries}))
    return path


@pytest.mark.parametrize("url", ["pipe:touch ran", "http://localhost:9/0.tar", "s3://bucket/0.tar"])
def test_programs_and_networks_need_permission(opened: Any, url: str) -> None:
    with pytest.raises(UserError, match=r"set plugins.webdataset.remote=true if you trust") as refusal:
        opened(url, samples_per_shard=3)
    assert refusal.value.setting == "plugins.webdataset.remote"
    assert not Path("ran").exists()


def test_a_description_cannot_run_programs_either(shards: Any, opened: Any) -> None:
    with pytest.raises(UserError, match="remote=true"):
        opened(piped(shards(2, 3), 2, 3))


def test_counts_of_remote_shards_must_be_told(opened: Any) -> None:
    with pytest.raises(UserError, match=r"set plugins.webdataset.samples_per_shard, or list the shards"):
        opened("pipe:touch ran", remote=True)
    assert not Path("ran").exists()


@pytest.mark.parametrize("buffer", [0, 3, 100])
def test_remote_shards_are_read_in_the_order_of_local_ones(shards: Any, opened: Any, numbers: Any, buffer: int) -> None:
    folder = shards(7, 1, 4)
    local = opened(folder, shuffle_buffer=buffer)
    remote = opened(piped(folder, 7, 1, 4), shuffle_buffer=buffer, remote=True)
    whole = numbers(local.read(1, 0, 12))
    assert numbers(remote.read(1, 0, 12)) == whole
    for start, stop in ((0, 5), (3, 9), (11, 12), (7, 12)):
        assert numbers(remote.read(1, start, stop)) == whole[start:stop]


def test_only_a_block_of_samples_is_held(shards: Any, opened: Any) -> None:
    import tracemalloc

    stream = opened(piped(shards(40, size=100_000), 40), shuffle_buffer=5, remote=True)
    next(stream.read(0, 0, 1))
    tracemalloc.start()
    for _ in stream.read(0, 0, 40):
        assert tracemalloc.get_traced_memory()[1] < 8 * 100_000 + 300_000
    tracemalloc.stop()


def test_a_program_that_fails_ends_the_run(shards: Any, opened: Any) -> None:
    folder = shards(3)
    for command in ("cat nothing-here.tar 2>&-", f"head -c 3000 {folder}/000.tar; exit 7"):
        stream = opened(f"pipe:{command}", remote=True, samples_per_shard=3)
        with pytest.raises(TrainingError, match=r"could not be fetched \(exit code \d\): try again, --resume"):
            list(stream.read(0, 0, 3))
    stream = opened("gopher://host/0.tar", remote=True, samples_per_shard=3)
    with pytest.raises(TrainingError, match="no gopen handler defined"):
        list(stream.read(0, 0, 3))


@pytest.mark.timeout(60)
def test_programs_end_with_the_reader(shards: Any, opened: Any) -> None:
    url = f"pipe:echo $$ > pid; cat {shards(3, size=300_000)}/000.tar"  # more than a pipe holds
    items = opened(url, shuffle=False, remote=True, samples_per_shard=3).read(0, 0, 3)
    next(items)
    pid = int(Path("pid").read_text())
    os.kill(pid, 0)
    items.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset fetches with curl")
def test_shards_come_over_http(shards: Any, opened: Any, numbers: Any) -> None:
    folder = shards(3, 4)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        (folder / "all.json").write_text(
            json.dumps({"shardlist": [{"url": f"{address}/00{n}.tar", "nsamples": 3 + n} for n in range(2)]})
        )
        stream = opened(folder / "all.json", shuffle=False, remote=True)
        assert numbers(stream.read(0, 0, 7)) == list(range(7))
        assert numbers(stream.read(0, 2, 5)) == [2, 3, 4]
        server.shutdown()
