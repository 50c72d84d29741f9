"""Tar shards for the tests of this plugin, and the plugin as a run would set it up."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mindloom.world import World
from mindloom_webdataset import Webdataset
from mindloom_webdataset.stream import Shards


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tests name files by paths relative to the working folder."""
    monkeypatch.chdir(tmp_path)


def _tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def tar() -> Callable[[Path, Iterable[tuple[str, bytes]]], Path]:
    """Write a tar file of members."""
    return _tar


def _members(first: int, last: int, size: int) -> list[tuple[str, bytes]]:
    members = []
    for number in range(first, last):
        members.append((f"{number:05d}.jpg", b"%05d" % number + b"." * (size - 5)))
        members.append((f"{number:05d}.json", json.dumps({"text": f"sample {number}"}).encode()))
    return members


@pytest.fixture(scope="session")
def members() -> Callable[[int, int, int], list[tuple[str, bytes]]]:
    """Names and contents of numbered samples; their pictures are their numbers and dots up to a size."""
    return _members


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    """Write shards of so many numbered samples each into a folder."""

    def make(*counts: int, size: int = 5) -> Path:
        first = 0
        for shard, count in enumerate(counts):
            _tar(tmp_path / "shards" / f"{shard:03d}.tar", _members(first, first + count, size))
            first += count
        return tmp_path / "shards"

    return make


@pytest.fixture
def opened() -> Callable[..., Shards]:
    """Open a path as the core does, with settings of the plugin."""

    def open_path(path: Path | str, seed: int = 3, shuffle: bool = True, **settings: Any) -> Shards:
        plugin = Webdataset(Webdataset.Config(**settings))
        plugin.name = "webdataset"
        plugin.on_configure(SimpleNamespace(seed=seed, data=SimpleNamespace(shuffle=shuffle)))
        return plugin.add_formats()["webdataset"].open(str(path), World())

    return open_path


@pytest.fixture(scope="session")
def numbers() -> Callable[[Iterable[Any]], list[int]]:
    """The numbers of good samples, out of their pictures; each must fit its caption and its id."""

    def read(samples: Iterable[Any]) -> list[int]:
        found = []
        for sample in samples:
            number = int(sample["image"][:5])
            assert sample["caption"] == f"sample {number}"
            assert sample["id"].endswith(f"/{number:05d}")
            found.append(number)
        return found

    return read
