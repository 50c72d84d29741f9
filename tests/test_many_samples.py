"""10 000 samples in 20 shards: opening is quick, and reading them costs no memory that stays."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mindloom_webdataset.writer import write
from PIL import Image

pytestmark = pytest.mark.together

READ = Path(__file__).with_name("read_many.py")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    samples = ({"image": file.getvalue(), "caption": f"picture {number}", "id": ""} for number in range(10_000))
    assert write(samples, folder, "text", 500) == 10_000
    (folder / "data_info.json").unlink()  # so that they must be counted
    return folder


def read(name: str, shards: Path, *counts: int) -> dict[str, Any]:
    command = [sys.executable, str(READ), name, str(shards), *map(str, counts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize("name", ["webdataset", "wids"])
def test_start_up_and_memory_do_not_grow_with_what_is_read(name: str, shards: Path) -> None:
    first = read(name, shards, 2000, 10_000, 13_000)
    assert (first["samples"], first["seen"]) == (10_000, 10_000)
    assert first["opened"] < 10  # the shards are scanned, and the package wids imports torch where there is one
    early, epoch, late = first["memory"]
    assert epoch - early < 15
    assert late - epoch < 5
    again = read(name, shards, 10)
    assert again["first"] < first["opened"] + 2
