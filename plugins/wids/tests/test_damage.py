"""Shards that are damaged or odd: every sample that can be read is, and any other is a broken sample with a name."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mindloom.formats import SampleError

Make = Callable[..., Any]


def describe(folder: Path, *counts: int) -> Path:
    listed = [{"url": f"{number:03d}.tar", "nsamples": count} for number, count in enumerate(counts)]
    path = folder / "data_info.json"
    path.write_text(json.dumps({"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": listed}))
    return path


def read_all(source: Any) -> tuple[list[str], list[SampleError]]:
    """Captions, and what was raised instead of one."""
    captions, broken = [], []
    for index in range(len(source)):
        try:
            captions.append(source[index]["caption"])
        except SampleError as error:
            broken.append(error)
    assert all(error.id and error.where and "\n" not in str(error) for error in broken)
    return captions, broken


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.77, 0.9])
def test_a_shard_that_is_cut_off(shards: Make, opened: Make, share: float, described: bool) -> None:
    folder = shards()
    if described:
        describe(folder, 10, 10, 10)
    data = (folder / "001.tar").read_bytes()
    (folder / "001.tar").write_bytes(data[: int(len(data) * share)])
    captions, broken = read_all(opened(folder))
    rest = {*range(10), *range(20, 30)}
    read = {int(caption.split()[1]) for caption in captions}
    assert rest <= read
    assert read - rest == set(range(10, 10 + len(read - rest)))
    assert len(read - rest) >= int(10 * share) - 2
    missing = [error for error in broken if "missing from the shard: it holds" in str(error)]
    parted = [error for error in broken if "no caption: it has jpg" in str(error)]  # the cut falls between two members
    assert len(broken) == len(missing) + len(parted)
    assert len(missing) == (10 - len(read - rest) - len(parted) if described else 0)
    assert len(parted) <= 1


def patched(path: Path, offset: int, data: bytes, checksum: bool = True) -> None:
    """Change the header of a tar file's first member, and its checksum along with it."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    if checksum:
        total = sum(content[:148]) + 8 * 32 + sum(content[156:512])
        content[148:156] = b"%06o\0 " % total
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "data", "checksum"),
    [
        (0, b"\xff\xfe", False),  # the sum no longer fits
        (124, b"-0000001000\0", True),  # a negative size: the package's reader would go round in circles
        (124, b"77777777777\0", True),  # 8 GB
        (124, b"\x80" + b"\xff" * 11, True),  # a size of 95 bits
        (124, b"\xff" * 12, True),  # a negative size of many bits
        (124, b"no number!!\0", True),
        (156, b"L", True),  # a long name whose text is a picture
        (156, b"x", True),  # extended headers whose text is a picture
        (156, b"S", True),  # a sparse file
        (156, b"\xff", True),  # a kind that nobody knows
    ],
)
def test_a_broken_header_ends_a_shard_but_no_run(
    shards: Make, opened: Make, offset: int, data: bytes, checksum: bool
) -> None:
    folder = shards()
    describe(folder, 10, 10, 10)
    patched(folder / "001.tar", offset, data, checksum)
    captions, broken = read_all(opened(folder))
    assert len(captions) + len(broken) == 30
    assert 1 <= len(broken) <= 10
    assert {f"sample {number}" for number in (*range(10), *range(20, 30))} <= set(captions)


def test_random_damage_never_gets_through(shards: Make, opened: Make) -> None:
    folder = shards()
    describe(folder, 10, 10, 10)
    whole = (folder / "001.tar").read_bytes()
    for seed in range(60):
        draw, data = random.Random(seed), bytearray(whole)
        for _ in range(draw.choice([1, 5, 50])):
            place = draw.randrange(len(data) // 512) * 512 + draw.randrange(160)
            data[place] = draw.randrange(256)
        (folder / "001.tar").write_bytes(data)
        source = opened(folder)
        captions, broken = read_all(source)
        assert len(captions) + len(broken) == 30
        for index in range(30):
            with contextlib.suppress(SampleError):
                source.size(index)


def test_samples_that_lack_something_are_broken_one_by_one(
    tmp_path: Path, opened: Make, tar: Make, picture: Make
) -> None:
    image = picture(1)
    members = [
        ("a.jpg", image),
        ("b.jpg", image), ("b.json", b"{}"),
        ("c.jpg", image), ("c.json", b'{"text": nothing'),
        ("d.json", b'{"text": "d"}'),
        ("e.jpg", image), ("e.txt", b"gr\xf6\xdfer"),
        ("f.jpg", image), ("f.jpg", image), ("f.txt", b"f"),
        ("../g.jpg", image), ("../g.txt", b"g"),
        ("/h.jpg", image), ("/h.txt", b"h"),
        ("fine.jpg", image), ("fine.txt", "größer 猫\n".encode()),
        ("seven.jpg", image), ("seven.json", b'{"text": 7}'),
        ("fine.jpg", picture(2)), ("fine.txt", b"another of that name"),
    ]  # fmt: skip
    source = opened(tar(tmp_path / "000.tar", members))
    captions, broken = read_all(source)
    assert captions == ["größer 猫", "7"]
    assert [source[index]["id"] for index in (8, 9)] == ["000/fine", "000/seven"]
    said = "\n".join(f"{error.id}: {error}" for error in broken).splitlines()
    expected = [
        "000/a: no caption", "000/b: no caption", "000/c: no caption: its json is damaged", "000/d: no picture",
        "000/e: no caption: its txt is not UTF-8", "000/f: duplicate members: the sample 'f' has two .jpg",
        "000/../g: unsafe name", "000//h: unsafe name",
        "000/fine: duplicate key: an earlier sample of the shard is called 'fine' too",
    ]  # fmt: skip
    assert len(said) == len(expected)
    for line, begin in zip(said, expected, strict=True):
        assert line.startswith(begin), line
    with pytest.raises(SampleError, match="no picture: it has json") as without:
        source.size(3)
    assert without.value.id == "000/d"


def test_long_names_arrive_whole(tmp_path: Path, opened: Make, tar: Make, picture: Make) -> None:
    keys = ["x" * 150 + "/" + "y" * 150 + end for end in ("1", "2")] + ["猫" * 80]
    members = [(f"{key}.{kind}", data) for key in keys for kind, data in (("jpg", picture(1)), ("txt", b"a"))]
    source = opened(tar(tmp_path / "0.tar", members))
    assert [source[index]["id"] for index in range(3)] == [f"0/{key}" for key in keys]


def test_a_shard_that_may_not_be_read(shards: Make, opened: Make) -> None:
    folder = shards()
    describe(folder, 10, 10, 10)
    source = opened(folder)
    if os.geteuid() == 0:  # root reads every file
        (folder / "001.tar").rename(folder / "001.gone")
    else:
        (folder / "001.tar").chmod(0)
    captions, broken = read_all(source)
    assert len(captions) == 20
    assert [error.id for error in broken] == [f"001/#{place}" for place in range(10)]
    assert all("the shard cannot be read: " in str(error) and "001.tar" in error.where for error in broken)


def test_a_shard_that_changes_meanwhile_is_not_misread(shards: Make, opened: Make) -> None:
    folder = shards()
    source = opened(folder, lru=1)
    assert source[15]["caption"] == "sample 15"
    (folder / "001.tar").write_bytes((folder / "002.tar").read_bytes())
    os.utime(folder / "001.tar", ns=(1, 1))
    with pytest.raises(SampleError, match="changed while it was read"):
        source[15]


def test_a_description_that_tells_too_few_or_too_many(
    shards: Make, opened: Make, caplog: pytest.LogCaptureFixture
) -> None:
    captions, broken = read_all(opened(describe(shards(), 10, 7, 12)))
    assert captions == [f"sample {number}" for number in (*range(17), *range(20, 30))]
    assert [str(error) for error in broken] == ["missing from the shard: it holds 10 of 12 samples"] * 2
    assert [text.partition("001.tar")[2] for text in caplog.messages] == [
        " holds more than its 7 counted samples: the rest is left out"
    ]
