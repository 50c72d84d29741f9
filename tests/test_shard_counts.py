"""Counting samples: what is read for it, what is remembered, and what damaged shards count."""

from __future__ import annotations

import io
import json
import logging
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mindloom import UserError
from mindloom.shards import DamagedError, Shard, counted, find_shards, groups
from mindloom.shards import counts as shard_counts

CACHE = ".mindloom-shards.json"


def tar(path: Path, names: list[str], size: int = 700, format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = size
            file.addfile(info, io.BytesIO(b"x" * size))
    return path


def numbered(count: int) -> list[str]:
    return [f"{number:04d}.{kind}" for number in range(count) for kind in ("jpg", "json")]


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that are scanned."""
    done: list[str] = []
    scan = shard_counts.scan

    def spy(url: str) -> shard_counts.Scan:
        done.append(os.path.basename(url))
        return scan(url)

    monkeypatch.setattr(shard_counts, "scan", spy)
    return done


def counts(path: Path) -> list[int | None]:
    return [shard.samples for shard in counted(find_shards(str(path)))]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_runs_of_members_with_one_key(tmp_path: Path, format: int) -> None:
    deep = "d.1/" + "long" * 20 + "/" + "name" * 20
    names = ["a.jpg", "a.seg.PNG", "a.json", f"{deep}.jpg", f"{deep}.json", "noext", ".hidden.jpg", "__meta__/x.jpg",
             "./b.jpg", "größe/猫.jpg", "c.jpg", "a.txt"]  # fmt: skip
    path = tar(tmp_path / "0.tar", names, format=format)
    with tarfile.open(path, "a", format=format) as file:
        folder, link = tarfile.TarInfo("folder.jpg"), tarfile.TarInfo("link.jpg")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(folder)
        file.addfile(link)
    with path.open("rb") as file:
        found = list(groups(file))
        assert [group.key for group in found] == ["a", deep, "./b", "größe/猫", "c", "a"]
        assert [member.extension for member in found[0].members] == ["jpg", "seg.png", "json"]
        for number, group in enumerate(found):
            assert next(groups(file, group.start)) == group, number
        file.seek(found[2].members[0].offset)
        assert file.read(found[2].members[0].size) == b"x" * 700
    assert counts(path) == [6]


def test_only_headers_are_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "0.tar", numbered(20), size=200_000)

    class Spy(io.FileIO):
        total = 0

        def read(self, size: int = -1) -> bytes:  # type: ignore[override]
            data = super().read(size)
            Spy.total += len(data)
            return data

    with Spy(str(path)) as file:
        assert len(list(groups(file))) == 20  # type: ignore[arg-type]
    assert Spy.total < 100_000 < path.stat().st_size


def test_counts_are_kept_until_a_shard_changes(tmp_path: Path, scans: list[str]) -> None:
    for number in range(3):
        tar(tmp_path / f"{number}.tar", numbered(number + 1))
    assert counts(tmp_path) == [1, 2, 3]
    assert sorted(scans) == ["0.tar", "1.tar", "2.tar"]
    assert counts(tmp_path) == [1, 2, 3]
    assert len(scans) == 3
    tar(tmp_path / "1.tar", numbered(9))
    os.utime(tmp_path / "2.tar", ns=(1, 1))
    scans.clear()
    assert counts(tmp_path) == [1, 9, 3]
    assert sorted(scans) == ["1.tar", "2.tar"]
    (tmp_path / "0.tar").unlink()
    tar(tmp_path / "3.tar", numbered(4))
    assert counts(tmp_path) == [9, 3, 4]
    assert list(json.loads((tmp_path / CACHE).read_text())) == ["1.tar", "2.tar", "3.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CACHE, "1.tar", "2.tar", "3.tar"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"0.tar": 3}', '{"0.tar": [1, 2]}', '{"0.tar": ["a", "b", "c"]}'])
def test_a_damaged_memory_is_ignored(tmp_path: Path, text: str) -> None:
    tar(tmp_path / "0.tar", numbered(2))
    (tmp_path / CACHE).write_text(text)
    assert counts(tmp_path) == [2]
    assert json.loads((tmp_path / CACHE).read_text())["0.tar"][2] == 2


def test_read_only_data_are_remembered_elsewhere(
    tmp_path: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    tar(data / "0.tar", numbered(2))
    (data / CACHE).mkdir()  # stands for a read-only folder, which would not stop root
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert counts(data) == counts(data) == [2]
    assert scans == ["0.tar"]
    assert sorted(path.name for path in data.iterdir()) == [CACHE, "0.tar"]
    (tmp_path / "cache" / "mindloom").rename(tmp_path / "gone")
    (tmp_path / "cache" / "mindloom").write_text("no folder can be made here")
    assert counts(data) == [2]


def test_processes_that_start_at_once_do_not_clash(tmp_path: Path) -> None:
    for number in range(8):
        tar(tmp_path / f"{number}.tar", numbered(number))
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: counts(tmp_path), range(12)))
    assert results == [list(range(8))] * 12
    assert len(list(tmp_path.iterdir())) == 9
    assert len(json.loads((tmp_path / CACHE).read_text())) == 8


def test_described_counts_are_taken_unless_the_size_is_another(
    tmp_path: Path, scans: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tar(tmp_path / "0.tar", numbered(2))
    size = path.stat().st_size
    assert counted([Shard(str(path), 5, None, "0"), Shard("pipe:x", 7)]) == [
        Shard(str(path), 5, size, "0"), Shard("pipe:x", 7),
    ]  # fmt: skip
    assert counted([Shard(str(path), 5, size)])[0].samples == 5
    assert not scans
    assert not list(tmp_path.glob(".*"))
    assert counted([Shard(str(path), 5, size - 512)]) == [Shard(str(path), 2, size)]
    assert f"{path} has {size} bytes, not {size - 512} as described" in caplog.text


def damage(path: Path) -> str:
    with path.open("rb") as file, pytest.raises(DamagedError) as found:
        list(groups(file))
    return str(found.value)


def test_damaged_shards_count_as_far_as_they_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = tar(tmp_path / "0.tar", numbered(6), format=tarfile.USTAR_FORMAT).read_bytes()
    step = 512 + 1024  # a header and 700 bytes in whole blocks
    cases = {
        "1": (whole[: 6 * step + 100], 3, "0003.jpg|header at byte"),
        "2": (whole[: 7 * step - 600], 3, "cut off within 0003.jpg"),
        "3": (whole[: 8 * step - 600], 3, "cut off within 0003.json"),
        "4": (whole[: 6 * step] + b"\xff" * 512 + whole[6 * step + 512 :], 3, "header at byte 9216 is broken"),
        "5": (b"this is a text", 0, "it is no tar file"),
        "6": (b"", 0, "it is no tar file"),
        "7": (b"x" * 20_000, 0, "it is no tar file"),
        "8": (whole[: 4 * step - 10], 2, "cut off after its last file"),
    }
    for name, (data, _, _) in cases.items():
        (tmp_path / f"{name}.tar").write_bytes(data)
    for _ in range(2):  # the second time from memory
        caplog.clear()
        assert counts(tmp_path) == [6] + [count for _, count, _ in cases.values()]
        assert caplog.text.count("is damaged after") == 8
    for name, (_, count, reason) in cases.items():
        assert any(part in damage(tmp_path / f"{name}.tar") for part in reason.split("|")), name
        assert f"{name}.tar is damaged after {count} samples: it" in caplog.text


def test_a_shard_cut_between_two_samples_is_damaged_and_counts_what_is_there(tmp_path: Path) -> None:
    whole = tar(tmp_path / "0.tar", numbered(3), format=tarfile.USTAR_FORMAT).read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[: 4 * (512 + 1024)])
    assert "cut off after its last file" in damage(tmp_path / "0.tar")
    assert shard_counts.scan(str(tmp_path / "0.tar")).samples == 2


@pytest.mark.parametrize("length", [512, 4096])
def test_zeros_in_the_middle_of_a_shard_are_damage_and_no_end(tmp_path: Path, length: int) -> None:
    whole = bytearray(tar(tmp_path / "0.tar", numbered(6), format=tarfile.USTAR_FORMAT).read_bytes())
    start = 4 * (512 + 1024)
    whole[start : start + length] = bytes(length)
    (tmp_path / "0.tar").write_bytes(whole)
    assert f"it has zeros at byte {start} and goes on" in damage(tmp_path / "0.tar")
    assert shard_counts.scan(str(tmp_path / "0.tar")).samples == 2


@pytest.mark.timeout(60)
def test_headers_with_impossible_sizes_end_the_walk(tmp_path: Path) -> None:
    whole = bytearray(tar(tmp_path / "0.tar", numbered(2), format=tarfile.USTAR_FORMAT).read_bytes())
    for size in (
        b"\xff" * 12,
        b"\xff" * 10 + b"\xf4\x00",
        b"\x80" + b"\xff" * 11,
        b"77777777777\0",
        b"garbage\0\0\0\0\0",
    ):
        header = whole[1536 : 1536 + 512]
        header[124:136] = size
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "1.tar").write_bytes(whole[:1536] + header + whole[2048:])
        assert damage(tmp_path / "1.tar")
        assert shard_counts.scan(str(tmp_path / "1.tar")).samples <= 1


def test_what_cannot_be_read_or_counted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nobody knows how many samples https://host/0"):
        counted([Shard("https://host/0.tar")])
    path = tar(tmp_path / "0.tar", numbered(1))
    real = open

    def closed(name: object, *args: object) -> object:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(shard_counts, "open", closed, raising=False)
    with pytest.raises(UserError, match=r"0.tar cannot be read \(Permission denied\): make it readable") as refusal:
        counts(path)
    assert refusal.value.setting == "data.path"


def test_a_long_count_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        tar(tmp_path / f"{number}.tar", numbered(1))
    monkeypatch.setattr(shard_counts, "PAUSE", -1.0)
    with caplog.at_level(logging.INFO, "mindloom"):
        counts(tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "counting the samples of 3 shards", "counted 1 of 3 shards", "counted 2 of 3 shards", "counted 3 of 3 shards",
        "counted 3 samples in 3 shards",
    ]  # fmt: skip
