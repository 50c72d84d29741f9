"""A whole run on shards: broken samples go into quarantine, and every sample of an epoch is taken once."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.testing import Pictures, Watch, fit
from mindloom_webdataset import Webdataset
from mindloom_webdataset.writer import write
from PIL import Image


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Write twelve pictures into three shards; those of some numbers are no pictures."""

    def make(*broken: int) -> Path:
        samples = []
        for number in range(12):
            file = io.BytesIO()
            Image.new("RGB", (4, 4), (20 * number, 0, 0)).save(file, "PNG")
            data = b"a text" if number in broken else file.getvalue()
            samples.append({"image": data, "caption": "a" * number, "id": str(number)})
        (tmp_path / "data").mkdir()
        write(samples, tmp_path / "data", "text", shard_samples=4)
        return tmp_path / "data"

    return make


def run(path: Path | str, out: Path, **data: Any) -> Any:
    data = {"path": str(path), "format": "webdataset", **data}
    settings = {"data": data, "plugins": {"webdataset": {"shuffle_buffer": 5}}}
    return fit(out, {"webdataset": Webdataset, "watch": Watch}, steps=12, task=Pictures, **settings)


def taken(fitted: Any) -> Counter[Any]:
    """How often each caption came."""
    return Counter(number for batch in fitted.plugins["watch"].taken for number in batch)


def test_every_sample_comes_once_in_an_epoch(tmp_path: Path, pictures: Any) -> None:
    folder = pictures()
    fitted = run(folder, tmp_path / "a")
    assert list(taken(fitted).values()) == [2] * 12
    again = run(f"{folder}/{{000000..000002}}.tar", tmp_path / "b")
    assert again.losses == fitted.losses
    assert run(folder, tmp_path / "c", shuffle=False).losses != fitted.losses


def test_broken_pictures_go_into_quarantine(tmp_path: Path, pictures: Any) -> None:
    folder = pictures(5)
    fitted = run(folder, tmp_path, max_broken=0.25)
    assert len(taken(fitted)) == 11
    [line] = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["id"] == "000001/000000005"
    assert entry["where"] == f"{folder}/000001.tar: 000000005.jpg"


def test_too_many_end_the_run(tmp_path: Path, pictures: Any) -> None:
    with pytest.raises(UserError, match="are broken, more than the"):
        run(pictures(1, 5, 9), tmp_path, max_broken=0.1)
