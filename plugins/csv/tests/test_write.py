"""Samples written as a folder: read back they are the same, and nothing lies outside of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from mindloom.formats import Format
from mindloom.world import World
from mindloom_csv import Csv
from PIL import Image


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    return file.getvalue()


def rewritten(samples: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Written and read back; pictures' paths are checked to lie inside."""
    folder.mkdir()
    form: Format = Csv().add_formats()["csv"]
    assert form.write is not None
    assert form.write(iter(samples), folder) == len(samples)
    source: Any = form.open(str(folder), World())
    for index in range(len(source)):
        assert Path(source.where(index)).resolve().is_relative_to(folder)
    return [source[index] for index in range(len(source))]


def test_pictures_and_captions_come_back_as_they_were(tmp_path: Path) -> None:
    texts = ["", 'an "owl", asleep', "two\nlines", "a\rb", "größer 猫 🦉", "x" * 10_000, "a\tb", "7"]
    samples = [{"image": picture("PNG"), "caption": text, "id": f"{n}"} for n, text in enumerate(texts)]
    again = rewritten(samples, tmp_path / "new")
    assert [sample["caption"] for sample in again] == texts
    assert [sample["image"] for sample in again] == [sample["image"] for sample in samples]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_names_end_as_the_bytes_say(tmp_path: Path, kind: str) -> None:
    expected = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}.get(kind, f".{kind.lower()}")
    again = rewritten([{"image": picture(kind), "caption": "a", "id": "x.heic"}], tmp_path / "new")
    assert again[0]["id"] == f"x{expected}"


def test_names_come_from_ids_and_are_safe_and_unique(tmp_path: Path) -> None:
    ids = {
        "birds/wren.png": "birds/wren.png",
        "birds/WREN.jpg": "birds/WREN-2.png",  # the bytes say png, and some systems take WREN for wren
        "/elsewhere/owl.png": "elsewhere/owl.png",
        "../../up.png": "up.png",
        "..\\win": "win.png",
        "c:/x?.png": "c_/x_.png",
        "..": "sample.png",
        "": "sample-2.png",
        "data.csv": "data.csv.png",
        "shard-000/000.1": "shard-000/000.1.png",
        "猫" * 100: "猫" * 40 + ".png",
        "wren.png": "wren.png",
        "wren.png/deep.png": "wren.png_/deep.png",
        "new\nline\0": "new_line_.png",
        "birds.png": "birds-2.png",
        "birds.png/x": "birds.png/x.png",
    }
    order = sorted(ids, key=lambda id: id == "birds.png")  # its name is a folder by then
    again = rewritten([{"image": picture("PNG"), "caption": id, "id": id} for id in order], tmp_path / "new")
    assert [sample["id"] for sample in again] == [ids[id] for id in order]


def test_what_is_no_picture_is_written_too_so_that_nothing_is_lost_unseen(tmp_path: Path) -> None:
    broken = [{"image": b"text", "caption": "a", "id": id} for id in ("a.jpg", "b")]
    assert [sample["id"] for sample in rewritten(broken, tmp_path / "new")] == ["a.jpg", "b.bin"]
