"""The sample that the members of one key make: picture, caption, id, and every way in which one is broken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mindloom.formats import SampleError
from mindloom.shards import Shard, safe_name, sample_of

SHARD = Shard("/data/000.tar", name="000")


def captioned(caption: Any, key: str = "text", **fields: bytes) -> dict[str, bytes]:
    return {"jpg": b"picture", "json": json.dumps({"width": 4, key: caption}).encode(), **fields}


def sample(fields: dict[str, bytes], caption_key: str = "text", key: str = "birds/7") -> dict[str, Any]:
    return sample_of(key, fields, caption_key, SHARD)


def reason(fields: dict[str, bytes], caption_key: str = "text", key: str = "birds/7") -> str:
    with pytest.raises(SampleError) as refusal:
        sample(fields, caption_key, key)
    assert refusal.value.id == f"000/{key}"
    assert refusal.value.where == f"/data/000.tar: {key}"
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300
    return str(refusal.value)


def test_a_sample_has_picture_caption_id_and_place() -> None:
    assert sample(captioned("a wren")) == {
        "image": b"picture",
        "caption": "a wren",
        "id": "000/birds/7",
        "where": "/data/000.tar: birds/7.jpg",
    }
    assert sample(captioned("a wren"), key="./7")["id"] == "000/7"


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "JPG", "png", "webp", "gif", "bmp", "tif", ".png"])
def test_pictures_have_any_of_the_usual_extensions(kind: str) -> None:
    assert sample({kind: b"p", "txt": b"t"})["image"] == b"p"


def test_the_caption_key_is_selectable() -> None:
    fields = {"jpg": b"p", "json": b'{"text": "a wren", "text_english": "a small wren"}', "txt": b" from txt\n"}
    assert sample(fields)["caption"] == "a wren"
    assert sample(fields, "text_english")["caption"] == "a small wren"
    assert sample(fields, "")["caption"] == "from txt"


@pytest.mark.parametrize("caption", ["", "x" * 10_000, "🦉🏽 at dusk", "一只猫头鹰", 'two\nlines, "quoted"', " "])
def test_captions_arrive_whole(caption: str) -> None:
    assert sample(captioned(caption))["caption"] == caption
    assert sample({"jpg": b"p", "txt": caption.encode()})["caption"] == caption.strip()
    assert sample({"jpg": b"p", "txt": b"\xef\xbb\xbf" + caption.encode()})["caption"] == caption.strip()


@pytest.mark.parametrize(("caption", "text"), [(7, "7"), (2.5, "2.5"), (-1, "-1")])
def test_numbers_become_text(caption: float, text: str) -> None:
    assert sample(captioned(caption))["caption"] == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"txt": b"t"}, "no picture: it has txt, and none of jpg, jpeg, png, webp, ..."),
        ({}, "no picture: it has nothing"),
        ({"jpg": b"p"}, "no caption: it has jpg, and no json or txt"),
        (captioned("t", key="other"), "no caption: its json has other, width, and no 'text'"),
        (captioned(None), "no caption: 'text' in its json is not text but null"),
        (captioned(["a"]), 'is not text but ["a"]'),
        (captioned({"a": 1}), 'is not text but {"a": 1}'),
        (captioned(True), "is not text but true"),
        (captioned("\ud83e"), "holds half a character"),
        ({"jpg": b"p", "json": b"{"}, "its json is damaged"),
        ({"jpg": b"p", "json": b""}, "its json is damaged"),
        ({"jpg": b"p", "json": b"[" * 100_000}, "its json is damaged"),
        ({"jpg": b"p", "json": b'["a"]'}, "its json is a list, not an object with 'text'"),
        ({"jpg": b"p", "json": b'{"text": "gr\xf6\xdfer"}'}, "its json is not UTF-8"),
        ({"jpg": b"p", "txt": b"gr\xf6\xdfer"}, "its txt is not UTF-8 (invalid start byte at byte 2)"),
        ({"jpg": b"p", "json": json.dumps(dict.fromkeys(map(str, range(999)))).encode()}, "..., and no 'text'"),
    ],
)
def test_a_broken_sample_says_what_is_wrong(fields: dict[str, bytes], text: str) -> None:
    assert text in reason(fields)


def test_the_whole_text_file_is_wanted_without_a_key() -> None:
    assert reason(captioned("t"), "") == "no caption: it has jpg, json, and no txt"


@pytest.mark.parametrize("key", ["/etc/passwd", "../up", "a/../../b", "C:\\x", "\\x", "a\\..\\b", "a\0b"])
def test_unsafe_names_are_refused(key: str) -> None:
    assert not safe_name(key)
    assert "unsafe name" in reason(captioned("t"), key=key)


def test_safe_names_are_not() -> None:
    assert all(safe_name(name) for name in ("a", "a/b.jpg", "./a", "a..b", "..a", "größe/猫", "ab:c"))
    assert not safe_name("")
