"""Descriptions of shards: the JSON form ``wids-shard-index-v1``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..errors import UserError

DESCRIPTION = "data_info.json"
"""The description that is taken when a folder holds it."""

MOST = {"nsamples": 10**8, "filesize": 1 << 50}
"""No shard has so many samples or bytes."""

KIND = "wids-shard-index-v1"


def listed(path: str) -> Iterator[tuple[str, int | None, int | None]]:
    """Yield (url, number of samples, size of the file in bytes) of every shard; numbers may be unknown.

    The form is that of ``widsindex create``: ``{"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist":
    [{"url": ..., "nsamples": ..., "filesize": ..., "md5sum": ...}, ...]}``. Only ``url`` is required of a shard. Sums
    are not compared: that would read every byte before a run starts.

    Raises:
        UserError: the file cannot be read or has another form; it names the entry.
    """
    for number, entry in enumerate(_shardlist(path)):
        place = f"{path}, entry {number} of shardlist"
        if not isinstance(entry, dict):
            raise UserError(f"{place} is {_short(entry)}: write {{'url': ..., 'nsamples': ...}}", setting="data.path")
        url = entry.get("url")
        if not isinstance(url, str) or not url.strip() or "\0" in url:
            raise UserError(f"{place} has the url {_short(url)}: name its tar file", setting="data.path")
        yield url, _number(entry, "nsamples", place), _number(entry, "filesize", place)


def description(shards: list[dict[str, Any]]) -> str:
    """Compose a description of shards, each with ``url``, ``nsamples``, ``filesize`` and ``md5sum``."""
    return json.dumps({"__kind__": KIND, "wids_version": 1, "shardlist": shards}, indent=2) + "\n"


def _shardlist(path: str) -> list[Any]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            data = json.load(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", setting="data.path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}): write it anew", setting="data.path") from None
    if not isinstance(data, dict) or not isinstance(data.get("shardlist"), list):
        raise UserError(f"{path} has no list 'shardlist': it must have the form {KIND}", setting="data.path")
    version = data.get("wids_version", 1)
    if version != 1 or data.get("__kind__", KIND) != KIND:
        kind = f"{data.get('__kind__', KIND)}, version {version}"
        raise UserError(f"{path} has the form {_short(kind)}: it must be {KIND}, version 1", setting="data.path")
    if data.get("datasets"):
        raise UserError(f"{path} refers to other data sets: list their shards in 'shardlist'", setting="data.path")
    return data["shardlist"]


def _number(entry: dict[str, Any], key: str, place: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < MOST[key]:
        raise UserError(f"{place} has the {key} {_short(value)}: write a number or leave it out", setting="data.path")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
