"""The sample that the members of one key in a shard make: its picture, its caption, its id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..files import PICTURES
from ..formats import SampleError

if TYPE_CHECKING:
    from .finding import Shard


def safe_name(name: str) -> bool:
    """Whether the name of a tar member stays inside the folder that it would be unpacked into, on any system."""
    if not name or "\0" in name or re.match(r"[/\\]|[a-zA-Z]:", name):
        return False
    return ".." not in re.split(r"[/\\]", name)


def sample_of(key: str, fields: Mapping[str, bytes], caption_key: str, shard: Shard) -> dict[str, Any]:
    """Compose ``{"image", "caption", "id", "where"}``; the id is ``name of the shard/key``.

    The caption is the value of ``caption_key`` in the member ``json``, numbers as their text; or, when there is no
    ``json`` or ``caption_key`` is empty, the whole of the member ``txt`` without white space around it.

    Args:
        key: of the sample: the path of its members up to the first dot of the base name.
        fields: contents by extension, of any case, with or without the leading dot.
        caption_key: a key of the JSON object.
        shard: where the sample lies.

    Raises:
        SampleError: the key is unsafe, there is no picture or no caption, or the caption is not text.
    """
    id, where = f"{shard.name}/{key.removeprefix('./')}", f"{shard.url}: {key}"
    try:
        if not safe_name(key):
            raise ValueError(f"unsafe name {key[:200]!r}: tar members may not lead out of their folder")
        known = {extension.lower().lstrip("."): data for extension, data in fields.items()}
        picture = next((kind for kind in PICTURES if kind in known), None)
        if picture is None:
            raise ValueError(f"no picture: it has {_names(known)}, and none of {', '.join(PICTURES[:4])}, ...")
        return {
            "image": known[picture],
            "caption": _caption(known, caption_key),
            "id": id,
            "where": f"{where}.{picture}",
        }
    except ValueError as error:
        raise SampleError(str(error), id, where) from None


def _caption(fields: Mapping[str, bytes], key: str) -> str:
    if key and "json" in fields:
        text = _value(_text(fields["json"], "json"), key)
    elif "txt" in fields:
        text = _text(fields["txt"], "txt").strip()
    else:
        wanted = "json or txt" if key else "txt"
        raise ValueError(f"no caption: it has {_names(fields)}, and no {wanted}")
    return text


def _value(text: str, key: str) -> str:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no caption: its json is damaged ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"no caption: its json is a {type(data).__name__}, not an object with {key!r}")
    if key not in data:
        raise ValueError(f"no caption: its json has {_names(data)}, and no {key!r}")
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"no caption: {key!r} in its json is not text but {json.dumps(value)[:40]}")
    caption = str(value)
    if any("\ud800" <= letter <= "\udfff" for letter in caption):
        raise ValueError(f"no caption: {key!r} in its json holds half a character (a lone surrogate)")
    return caption


def _text(data: bytes, kind: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"no caption: its {kind} is not UTF-8 ({error.reason} at byte {error.start})") from None


def _names(names: Mapping[str, Any]) -> str:
    text = ", ".join(sorted(names)) or "nothing"
    return text if len(text) <= 100 else text[:97] + "..."
