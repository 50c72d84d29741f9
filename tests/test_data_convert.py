"""``mindloom data convert``: samples keep their bytes, captions and order, and nothing half done is left behind."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from mindloom.discovery import discover
from mindloom.formats import RawSample, Stream
from mindloom.layers import Layers
from mindloom.survey import cli
from mindloom.survey.finding import opened

from .data_sets import CHINESE, STREAM, bomb, jpeg, listed, sound

pytestmark = pytest.mark.together

Convert = Callable[..., tuple[int, str]]
CAPTIONS = ["plain", 'a "quoted", one', "two\nlines", CHINESE, "🦉 owl", "", "x" * 10_000, "42", "null", "{a: 1}"]


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Convert:
    """Convert in this process; return exit code and what was written to stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd() / "cache"))

    def run(*argv: object) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["convert", *map(str, argv)])
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return code, err

    return run


def read(path: str | Path, format: str) -> list[RawSample]:
    """All samples in order."""
    layers = Layers()
    layers.set({"data": {"shuffle": False}}, "test")
    with opened(str(path), format, layers, discover()) as data:
        if isinstance(data.source, Stream):
            return [dict(sample) for sample in data.source.read(0, 0, len(data.source))]
        return [data.source[index] for index in range(len(data.source))]


def contents(samples: list[RawSample]) -> list[tuple[bytes, str]]:
    return [(sample["image"], sample["caption"]) for sample in samples]


def test_there_and_back_keeps_bytes_captions_and_order(convert: Convert, tmp_path: Path) -> None:
    # Names sort in another order than the list has.
    rows = [(f"{9 - number}.jpg", jpeg(number), caption) for number, caption in enumerate(CAPTIONS)]
    folder = listed(tmp_path / "set", rows)
    assert convert(folder, "shards", "--to", "webdataset", "--workers", 3)[0] == 0
    assert convert("shards", "back", "--to", "csv", "--format", "webdataset")[0] == 0
    assert convert("shards", "again", "--to", "csv")[0] == 0
    before = contents(read(folder, "csv"))
    assert [caption for _, caption in before] == CAPTIONS
    assert contents(read("shards", "webdataset")) == before
    assert contents(read("shards", "wids")) == before
    assert contents(read("back", "csv")) == contents(read("again", "csv")) == before


def test_broken_samples_are_listed_and_left_out(convert: Convert, tmp_path: Path) -> None:
    folder = listed(tmp_path / "set", [
        ("a.jpg", jpeg(0), "a"), ("cut.jpg", jpeg(1)[:900], "b"), ("bomb.png", bomb(), "c"), ("gone.jpg", None, "d"),
        ("e.jpg", jpeg(4), "e"),
    ])  # fmt: skip
    code, err = convert(folder, "new", "--to", "csv")
    assert code == 1
    assert [line.split()[2] for line in err.splitlines()] == ["cut.jpg", "bomb.png", "gone.jpg"]
    assert [caption for _, caption in contents(read("new", "csv"))] == ["a", "e"]


def test_a_stream_of_a_third_party_is_converted(convert: Convert, tmp_path: Path) -> None:
    Path("named.py").write_text(STREAM)
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.jpg").write_bytes(jpeg(ord(name)))
    assert convert(folder, "new", "--to", "csv", "--plugins", "./named.py")[0] == 0
    assert [sample["id"] for sample in read("new", "csv")] == ["a.jpg", "b.jpg", "c.jpg"]
    with open("new/data.csv", newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["a", "b", "c"]


@pytest.mark.parametrize(("argv", "words"), [
    (["set", "full", "--to", "csv"], "full is already there: name a new folder, or remove it"),
    (["set", "file", "--to", "csv"], "file is already there"),
    (["set", "set", "--to", "csv"], "set lies in set, where formats look for samples: choose another DST"),
    (["set", "set/new", "--to", "csv"], "set/new lies in set"),
    (["set", "file/new", "--to", "csv"], "file cannot be written: "),
    (["set", "new", "--to", "wids"], "the format 'wids' cannot be written, only read; those that can: csv, webdataset"),
    (["set", "new", "--to", "cvs"], "there is no dataset format 'cvs': did you mean 'csv'?"),
    (["none", "new", "--to", "csv"], "there is no data at none: check the path"),
    (["bad", "new", "--to", "csv"], "none of the 1 samples of bad can be used, so nothing was written"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_writes_nothing(
    convert: Convert, tmp_path: Path, argv: list[str], words: str
) -> None:
    sound(tmp_path / "set", 2)
    sound(tmp_path / "full", 1)
    listed(tmp_path / "bad", [("a.jpg", None, "a")])
    Path("file").write_text("")
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    code, err = convert(*argv)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"mindloom: error: {words}")
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_an_empty_folder_may_be_filled_and_missing_ones_above_it_are_made(convert: Convert, tmp_path: Path) -> None:
    folder = sound(tmp_path / "set", 2)
    Path("empty").mkdir()
    assert convert(folder, "empty", "--to", "csv")[0] == 0
    assert convert(folder, "one/two/three", "--to", "csv")[0] == 0
    assert contents(read("empty", "csv")) == contents(read("one/two/three", "csv"))


@pytest.mark.parametrize(("end", "code", "words"), [
    ("raise OSError(28, 'No space left on device')", 1, "plugin 'half' failed in write: OSError: [Errno 28] No space"),
    ("return 1", 1, "only 1 of 2 samples were written"),
    ("raise KeyboardInterrupt", 130, "interrupted"),
])  # fmt: skip
def test_what_cannot_be_written_to_the_end_leaves_nothing(
    convert: Convert, tmp_path: Path, end: str, code: int, words: str
) -> None:
    Path("half.py").write_text(
        "from mindloom import Plugin, UserError, hookimpl\nfrom mindloom.formats import Format\n\n\n"
        "def open(path, world):\n    raise UserError('no')\n\n\n"
        "def write(samples, folder):\n    for sample in samples:\n        (folder / sample['id']).write_text('x')\n"
        f"    {end}\n\n\n"
        "class Half(Plugin):\n    @hookimpl\n    def add_formats(self):\n        return {'half': Format(open, write)}\n"
    )
    got, err = convert(sound(tmp_path / "set", 2), "out/new", "--to", "half", "--plugins", "./half.py")
    assert got == code
    assert err.splitlines()[-1].startswith(f"mindloom: error: {words}")
    assert list(Path("out").iterdir()) == []
