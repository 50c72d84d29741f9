"""Broken samples and shards: an error each, in its place, and every other sample as if nothing had happened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.formats import SampleError
from mindloom_webdataset import readers

HEADER = 512


@pytest.fixture(params=["local", "remote"])
def read(request: pytest.FixtureRequest, opened: Any) -> Callable[..., list[Any]]:
    """Read all of one shard that is said to hold so many samples, from the file or through a pipe."""

    def everything(path: Path, count: int, **settings: Any) -> list[Any]:
        url = str(path) if request.param == "local" else f"pipe:cat {path}"
        stream = opened(url, shuffle=False, remote=True, samples_per_shard=count, **settings)
        items = list(stream.read(0, 0, count))
        assert len(items) == count == len(stream)
        for item in items:
            assert item.id.startswith("000/") if isinstance(item, SampleError) else item["id"].startswith("000/")
        return items

    return everything


def words(items: list[Any]) -> list[str]:
    """Captions, and reasons of errors."""
    return [str(item) if isinstance(item, SampleError) else item["caption"] for item in items]


def good(items: list[Any]) -> list[bool]:
    return [not isinstance(item, SampleError) for item in items]


def test_broken_samples_are_errors_in_their_place(tmp_path: Path, tar: Any, read: Any) -> None:
    def captioned(key: str, caption: Any) -> list[tuple[str, bytes]]:
        return [(f"{key}.jpg", b"p"), (f"{key}.json", json.dumps({"text": caption}).encode())]

    long = "x" * 10_000
    path = tar(
        tmp_path / "000.tar",
        [
            *captioned("a", "first"),
            ("b.jpg", b"p"), ("b.json", b'{"other": 1}'),
            *captioned("c", 7), *captioned("d", ""), *captioned("e", long), *captioned("f", "🦉"),
            *captioned("g", "猫"),
            ("h.txt", b"no picture"),
            *captioned("a", "again"),
            *captioned("i", "one"), *captioned("i", "two"),
            *captioned("../j", "up"), *captioned("/k", "absolute"), *captioned("C:\\l", "drive"),
            ("m.jpg", b""), ("m.txt", b"zero bytes are for the decoder"),
            ("n.JPG", b"p"), ("n.Txt", b"last"),
        ],
    )  # fmt: skip
    items = read(path, 15)
    assert words(items) == [
        "first", "no caption: its json has other, and no 'text'", "7", "", long, "🦉", "猫",
        "no picture: it has txt, and none of jpg, jpeg, png, webp, ...",
        "duplicate key: an earlier sample of the shard is called 'a' too",
        "duplicate members: jpg, jpg, json, json",
        *(f"unsafe name {key!r}: tar members may not lead out of their folder" for key in ("../j", "/k", "C:\\l")),
        "zero bytes are for the decoder", "last",
    ]  # fmt: skip
    assert items[1].id == "000/b"
    assert items[1].where.endswith("000.tar: b")
    assert items[0]["where"].endswith("000.tar: a.jpg")


def test_the_caption_key_is_selectable(tmp_path: Path, tar: Any, read: Any) -> None:
    fields = [("a.jpg", b"p"), ("a.json", b'{"text": "one", "text_english": "two"}'), ("a.txt", b"three")]
    path = tar(tmp_path / "000.tar", fields)
    assert words(read(path, 1)) == ["one"]
    assert words(read(path, 1, caption_key="text_english")) == ["two"]
    assert words(read(path, 1, caption_key="")) == ["three"]


def test_what_was_counted_and_is_missing_is_an_error(tmp_path: Path, tar: Any, members: Any, read: Any) -> None:
    items = read(tar(tmp_path / "000.tar", members(0, 3, 5)), 5)
    assert good(items) == [True] * 3 + [False] * 2
    assert str(items[4]) == "missing from the shard: it holds 3 of 5 samples"
    assert items[4].id == "000/#4"


def test_what_was_not_counted_is_left_out_with_one_warning(
    tmp_path: Path, tar: Any, members: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert words(read(tar(tmp_path / "000.tar", members(0, 5, 5)), 3)) == [f"sample {number}" for number in range(3)]
    assert len(caplog.records) == 1
    assert "holds more than its 3 counted samples" in caplog.text


@pytest.mark.parametrize("bytes_left", range(100, 6144, 500))
def test_a_shard_that_is_cut_off_loses_what_is_cut(
    tmp_path: Path, tar: Any, members: Any, read: Any, bytes_left: int
) -> None:
    path = tar(tmp_path / "000.tar", members(0, 3, 5))  # 2048 bytes a sample
    os.truncate(path, bytes_left)
    items = read(path, 3)
    # Cut between picture and json, a sample is there but has no caption; in the padding, nothing is lost.
    whole = sum(bytes_left >= 2048 * number + 1536 + len(b'{"text": "sample 0"}') for number in range(3))
    assert good(items) == [True] * whole + [False] * (3 - whole)


def test_a_broken_header_ends_a_shard(tmp_path: Path, tar: Any, members: Any, read: Any) -> None:
    path = tar(tmp_path / "000.tar", members(0, 4, 5))
    data = bytearray(path.read_bytes())
    data[2 * 2048 : 2 * 2048 + HEADER] = b"\xff" * HEADER
    path.write_bytes(data)
    items = read(path, 4)
    assert good(items) == [True, True, False, False]
    assert "missing from the shard: it holds 2 of 4 samples" in str(items[3])


@pytest.mark.parametrize("data", [b"", b"this is a text", b"\xff" * 5000])
def test_what_is_no_tar_file_has_only_missing_samples(tmp_path: Path, read: Any, data: bytes) -> None:
    (tmp_path / "000.tar").write_bytes(data)
    items = read(tmp_path / "000.tar", 2)
    assert good(items) == [False, False]
    assert all("missing from the shard: it holds 0 of 2" in str(item) for item in items)
    assert not any("\n" in str(item) for item in items)


def test_damaged_shards_are_counted_as_far_as_they_go(shards: Any, opened: Any, numbers: Any) -> None:
    folder = shards(3, 4, 5)
    os.truncate(folder / "001.tar", 2 * 2048 + 300)
    (folder / "003.tar").write_bytes(b"no tar file")
    stream = opened(folder, shuffle=False)
    assert numbers(stream.read(0, 0, len(stream))) == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]


def test_an_unreadable_shard_is_refused_or_an_error(shards: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(2, 2)
    stream = opened(folder, shuffle=False)

    def closed(path: str, mode: str) -> Any:
        if path.endswith("001.tar"):
            raise PermissionError(13, "Permission denied", path)
        return open(path, mode)

    monkeypatch.setattr(readers, "open", closed, raising=False)
    items = list(stream.read(0, 0, 4))
    assert good(items) == [True, True, False, False]
    assert str(items[3]) == "the shard cannot be read: Permission denied"
    assert items[3].id == "001/#1"
    (folder / "001.tar").unlink()
    assert good(list(stream.read(0, 0, 4))) == [True, True, False, False]


def test_nothing_to_read_is_refused(tmp_path: Path, opened: Any) -> None:
    with pytest.raises(UserError, match=r"holds no \*.tar file"):
        opened(tmp_path)
    with pytest.raises(UserError, match="must be 0 or more, not -1") as refusal:
        opened(tmp_path, shuffle_buffer=-1)
    assert refusal.value.setting == "plugins.webdataset.shuffle_buffer"
