"""Writing shards: what is written is read back, by webdataset too, and equal samples give equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mindloom.formats import Format
from mindloom.shards import counts as shard_counts
from mindloom_webdataset import Webdataset
from mindloom_webdataset.writer import extension, write
from PIL import Image


def picture(kind: str, number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, kind)
    return file.getvalue()


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
CAPTIONS = ("a wren", "", "🦉 一只猫头鹰", "x" * 10_000, 'two\nlines "quoted"', " spaces ", "7", "last")
SAMPLES = [
    {"image": picture(kind, number), "caption": caption, "id": f"birds/{number}.x"}
    for number, (kind, caption) in enumerate(zip(KINDS, CAPTIONS, strict=True))
]


def everything(opened: Any, folder: Path, **settings: Any) -> list[Any]:
    stream = opened(folder, shuffle=False, **settings)
    return list(stream.read(0, 0, len(stream)))


@pytest.mark.parametrize("key", ["text", "text_english", ""])
def test_what_is_written_is_read_back(tmp_path: Path, opened: Any, key: str) -> None:
    found = Webdataset(Webdataset.Config(caption_key=key)).add_formats()["webdataset"]
    assert isinstance(found, Format)
    assert found.write is not None
    assert found.write(iter(SAMPLES), tmp_path) == len(SAMPLES)
    samples = everything(opened, tmp_path, caption_key=key)
    assert [sample["image"] for sample in samples] == [sample["image"] for sample in SAMPLES]
    captions = [caption if key else caption.strip() for caption in CAPTIONS]
    assert [sample["caption"] for sample in samples] == captions
    assert samples[3]["id"] == "000000/000000003"


def test_extensions_are_those_of_the_contents() -> None:
    kinds = [extension(sample["image"]) for sample in SAMPLES]
    assert kinds == ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm", "jp2"]
    assert extension(b"") == extension(b"text") == "jpg"


def test_shards_are_described(tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100%s"
    folder.mkdir()
    assert write(SAMPLES, folder, "text", shard_samples=3) == 8
    data = json.loads((folder / "data_info.json").read_text())
    assert (data["__kind__"], data["wids_version"]) == ("wids-shard-index-v1", 1)
    assert [entry["url"] for entry in data["shardlist"]] == ["000000.tar", "000001.tar", "000002.tar"]
    assert [entry["nsamples"] for entry in data["shardlist"]] == [3, 3, 2]
    for entry in data["shardlist"]:
        content = (folder / entry["url"]).read_bytes()
        assert entry["filesize"] == len(content)
        assert entry["md5sum"] == hashlib.md5(content).hexdigest()
    monkeypatch.setattr(shard_counts, "scan", None)  # no need to count
    assert [sample["caption"] for sample in everything(opened, folder)] == list(CAPTIONS)
    assert sorted(os.listdir(folder)) == ["000000.tar", "000001.tar", "000002.tar", "data_info.json"]


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(SAMPLES, tmp_path / name, "text", shard_samples=5)
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert contents[0] == contents[1]


def test_webdataset_reads_it_as_its_own(tmp_path: Path) -> None:
    from webdataset import tarfile_samples

    write(SAMPLES, tmp_path, "text")
    samples = list(tarfile_samples([{"url": str(tmp_path / "000000.tar")}]))
    assert [sample["__key__"] for sample in samples] == [f"{number:09d}" for number in range(8)]
    assert samples[1]["png"] == SAMPLES[1]["image"]
    assert json.loads(samples[2]["json"]) == {"id": "birds/2.x", "text": CAPTIONS[2]}


def test_half_characters_do_not_stop_it(tmp_path: Path, opened: Any) -> None:
    write([{"image": b"p", "caption": "a\ud83e", "id": "b\ud83e"}], tmp_path, "text")
    assert everything(opened, tmp_path)[0]["caption"] == "a?"


def test_no_samples_make_an_empty_shard(tmp_path: Path, opened: Any) -> None:
    assert write([], tmp_path, "text") == 0
    assert everything(opened, tmp_path) == []
