"""Finding shards: folders, patterns and descriptions, and what is refused."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from mindloom import UserError
from mindloom.shards import Shard, description, find_shards, is_url


def tar(path: Path, samples: int = 1) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for number in range(samples):
            file.addfile(tarfile.TarInfo(f"{number}.jpg"), io.BytesIO())
    return str(path)


def index(path: Path, shards: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"wids_version": 1, "shardlist": shards, **more}))
    return path


def refused(path: Any) -> str:
    with pytest.raises(UserError) as refusal:
        find_shards(str(path))
    assert refusal.value.setting == "data.path"
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_folder_and_its_sub_folders_are_listed_by_name(tmp_path: Path) -> None:
    files = [tar(tmp_path / name) for name in ("b.TAR", "c.tar", "deep/er/a.tar", "deep/z.tar")]
    for hidden in ("._c.tar", ".git/x.tar"):
        tar(tmp_path / hidden)
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    (tmp_path / "readme.txt").write_text("not a shard")
    shards = find_shards(str(tmp_path))
    assert [shard.url for shard in shards] == [files[0], files[1], files[3], files[2]]
    assert [shard.name for shard in shards] == ["b", "c", "z", "a"]
    assert all(shard.samples is None for shard in shards)


def test_shards_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for part in ("a", "b"):
        tar(tmp_path / "data" / part / "000.tar")
    names = [shard.name for shard in find_shards(str(tmp_path))]
    assert names == ["a/000", "b/000"]
    (tmp_path / "data").rename(tmp_path / "moved")
    assert [shard.name for shard in find_shards(str(tmp_path / "moved"))] == names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{000..002}.tar", ["000", "001", "002"]),
        ("{2..0}.tar", ["2", "1", "0"]),
        ("{train,val}-{0..1}.tar", ["train-0", "train-1", "val-0", "val-1"]),
        ("{train-{0..1},val-0}.tar", ["train-0", "train-1", "val-0"]),
        ("train-*.tar", ["train-0", "train-1"]),
        ("{train,val}-[0-9].tar", ["train-0", "train-1", "val-0", "val-1"]),
        ("**/00?.tar", ["000", "001", "002"]),
        ("{odd}.tar", ["{odd}"]),
        ("val-0.tar", ["val-0"]),
    ],
)
def test_patterns_are_expanded(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("000", "001", "002", "0", "1", "2", "train-0", "train-1", "val-0", "val-1", "{odd}"):
        tar(tmp_path / f"{name}.tar")
    assert [shard.name for shard in find_shards(f"{tmp_path}/{pattern}")] == names


def test_urls_are_expanded_and_nothing_is_run() -> None:
    shards = find_shards("pipe:touch ran; cat /x/{00..02}.tar")
    assert [shard.url for shard in shards] == [f"pipe:touch ran; cat /x/{number}.tar" for number in ("00", "01", "02")]
    assert [shard.name for shard in shards] == ["00", "01", "02"]
    assert not Path("ran").exists()
    assert find_shards("https://host/a/7.tar?token=x")[0].name == "7"
    assert [is_url(text) for text in ("pipe:ls", "s3://a/b", "C:\\a.tar", "/a.tar", "a:b")] == [True, True] + [
        False
    ] * 3


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no *.tar file" in refused(tmp_path / "empty")
    assert "matches no file" in refused(tmp_path / "*.tar")
    tar(tmp_path / "0.tar")
    message = refused(f"{tmp_path}/{{0..3}}.tar")
    assert f"there is no shard {tmp_path}/1.tar and 2 more of {tmp_path}/{{0..3}}.tar" in message
    assert "there is no shard" in refused(f"{tmp_path}/{{0..999999999}}.tar")
    assert "twice" in refused(f"{tmp_path}/{{0,0}}.tar")
    assert "download it" in refused("https://host/data_info.json")


def test_a_description_is_taken_from_a_folder_or_by_name(tmp_path: Path) -> None:
    for name in ("a/0.tar", "1.tar", "not-listed.tar"):
        tar(tmp_path / name)
    entries = [
        {"url": "a/0.tar", "nsamples": 7, "filesize": 10240, "md5sum": "x"},
        {"url": str(tmp_path / "1.tar"), "nsamples": 0},
    ]
    for name in ("data_info.json", "other.json"):
        index(tmp_path / name, entries, name="birds", __kind__="wids-shard-index-v1")
    wanted = [
        Shard(str(tmp_path / "a/0.tar"), 7, 10240, "0"),
        Shard(str(tmp_path / "1.tar"), 0, None, "1"),
    ]
    assert find_shards(str(tmp_path)) == wanted
    assert find_shards(str(tmp_path / "other.json")) == wanted


def test_shards_are_found_beside_a_description_that_moved_with_them(tmp_path: Path) -> None:
    for name in ("part/0.tar", "0.tar"):
        tar(tmp_path / name)
    path = index(tmp_path / "index.json", [{"url": "built/here/part/0.tar"}, {"url": "/elsewhere/0.tar"}])
    assert [shard.url for shard in find_shards(str(path))] == [str(tmp_path / "part/0.tar"), str(tmp_path / "0.tar")]
    path = index(tmp_path / "index.json", [{"url": f"file://{tmp_path}/part/0.tar"}, {"url": "pipe:cat x"}])
    assert [shard.url for shard in find_shards(str(path))] == [str(tmp_path / "part/0.tar"), "pipe:cat x"]


def test_what_the_index_tool_of_wids_writes_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = pytest.importorskip("wids.wids_index", exc_type=ImportError)
    for number in range(2):
        tar(tmp_path / "data" / f"{number}.tar", samples=3 + number)
    monkeypatch.setattr(sys, "argv", ["widsindex", "create", "data/{0..1}.tar", "-o", "data/data_info.json"])
    tool.main()
    shards = find_shards("data")
    assert [(shard.url, shard.samples) for shard in shards] == [("data/0.tar", 3), ("data/1.tar", 4)]
    assert [shard.bytes for shard in shards] == [Path(shard.url).stat().st_size for shard in shards]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\xff", "is no JSON"),
        ("[]", "has no list 'shardlist'"),
        ('{"shardlist": {}}', "has no list 'shardlist'"),
        ('{"shardlist": []}', "lists no shard"),
        ('{"wids_version": 2, "shardlist": []}', "version 2'"),
        ('{"__kind__": "other", "shardlist": []}', "'other, version 1'"),
        ('{"shardlist": [], "datasets": [{}]}', "refers to other data sets"),
        ('{"shardlist": ["0.tar"]}', "entry 0 of shardlist is '0.tar'"),
        ('{"shardlist": [{"url": "0.tar"}, {"nsamples": 3}]}', "entry 1 of shardlist has the url None"),
        ('{"shardlist": [{"url": " "}]}', "has the url ' '"),
        ('{"shardlist": [{"url": "0.tar", "nsamples": "3"}]}', "has the nsamples '3'"),
        ('{"shardlist": [{"url": "0.tar", "nsamples": -1}]}', "has the nsamples -1"),
        ('{"shardlist": [{"url": "0.tar", "nsamples": true}]}', "has the nsamples True"),
        ('{"shardlist": [{"url": "0.tar", "filesize": 1.5}]}', "has the filesize 1.5"),
        ('{"shardlist": [{"url": "0.tar"}, {"url": "9.tar"}]}', "there is no shard"),
        ('{"shardlist": [{"url": "0.tar"}, {"url": "./0.tar"}]}', "twice"),
    ],
)
def test_a_malformed_description_is_refused_with_its_place(tmp_path: Path, text: str, reason: str) -> None:
    tar(tmp_path / "0.tar")
    (tmp_path / "data_info.json").write_bytes(text.encode("latin-1"))
    message = refused(tmp_path)
    assert reason in message
    assert str(tmp_path / "data_info.json") in message
    assert len(message) < 400


def test_a_description_is_read_as_it_was_composed(tmp_path: Path) -> None:
    url = tar(tmp_path / "0.tar")
    entry = {"url": "0.tar", "nsamples": 4, "filesize": 5, "md5sum": "6"}
    (tmp_path / "data_info.json").write_text(description([entry]))
    assert find_shards(str(tmp_path)) == [Shard(url, 4, 5, "0")]
