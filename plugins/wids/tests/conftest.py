"""Tar shards for the tests of this plugin."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from mindloom.world import World
from mindloom_wids import Wids
from PIL import Image


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8 + number % 5, 8), (number % 256, number // 256, 0)).save(file, "JPEG")
    return file.getvalue()


def _tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A small JPEG for each number."""
    return _picture


@pytest.fixture(scope="session")
def tar() -> Callable[[Path, Iterable[tuple[str, bytes]]], Path]:
    """Write a tar file of members."""
    return _tar


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    """Write shards of numbered samples into one folder; the captions are "sample 0" and so on."""

    def make(count: int = 3, each: int = 10) -> Path:
        for shard in range(count):
            members: list[tuple[str, bytes]] = []
            for number in range(shard * each, (shard + 1) * each):
                members.append((f"{number:05d}.jpg", _picture(number)))
                caption = json.dumps({"text": f"sample {number}", "long": f"the long caption of {number}"})
                members.append((f"{number:05d}.json", caption.encode()))
            _tar(tmp_path / "shards" / f"{shard:03d}.tar", members)
        return tmp_path / "shards"

    return make


@pytest.fixture
def opened() -> Callable[..., Any]:
    """Open a path as the core does."""

    def open_path(path: Path | str, **settings: Any) -> Any:
        plugin = Wids(Wids.Config(**settings))
        plugin.name = "wids"
        return plugin.add_formats()["wids"](str(path), World())

    return open_path
