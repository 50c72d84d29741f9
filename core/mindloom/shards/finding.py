"""Finding the tar shards of a data set: in folders, by patterns, and in descriptions."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import UserError
from ..files import ends, walk
from .index import DESCRIPTION, listed
from .patterns import expanded, is_url


@dataclass(frozen=True)
class Shard:
    """One tar file of samples.

    Attributes:
        url: path of a local file, or a URL (see :func:`is_url`).
        samples: how many it holds, once known.
        bytes: size of the file, once known.
        name: begins the ids of its samples; unique in a data set and the same wherever the data set lies.
    """

    url: str
    samples: int | None = None
    bytes: int | None = None
    name: str = ""


def find_shards(path: str) -> list[Shard]:
    """List the shards of a data set, in an order that depends on names only.

    ``path`` is one of: a folder that holds ``data_info.json``; a folder whose ``*.tar`` files, those of sub-folders
    too, are taken in the order of their names; a ``wids-shard-index-v1`` JSON file; one shard; or a pattern of shards
    with ``{000..012}``, ``{a,b}``, ``*``, ``?`` or ``[...]``. Shards may be URLs: it is for the caller to refuse those.

    Raises:
        UserError: nothing is found there, a shard is missing or listed twice, or the description is malformed.
    """
    if os.path.isdir(path):
        if os.path.exists(os.path.join(path, DESCRIPTION)):
            path = os.path.join(path, DESCRIPTION)
        else:
            return _named(
                [Shard(file) for file in _tar_files(path)], path, "holds no *.tar file, nor do its sub-folders"
            )
    if path.lower().endswith(".json"):
        if is_url(path):
            raise UserError(f"{path} is a remote description: download it, and name the file", setting="data.path")
        folder = os.path.dirname(path)
        shards = [Shard(_local(url, folder), samples, size) for url, samples, size in listed(path)]
        return _named(shards, path, "lists no shard")
    if os.path.exists(path):
        return _named([Shard(path)], path, "")
    return _named([Shard(_path_of(url)) for url in expanded(path)], path, "matches no file")


def _tar_files(folder: str) -> Iterator[str]:
    for here, files in walk(folder):
        yield from (os.path.join(here, name) for name in files if ends(name, ("tar",)))


def _path_of(url: str) -> str:
    return url2pathname(urlsplit(url).path) if url.startswith("file://") else url


def _local(url: str, folder: str) -> str:
    """Where a description's shard lies.

    That is relative to the description. Tools that write descriptions record the paths that they were called with, and
    data sets move: of such a path, the longest end that exists beside the description counts.
    """
    url = _path_of(url)
    if is_url(url):
        return url
    beside = os.path.normpath(os.path.join(folder, url))
    parts = Path(url).parts
    ends = (os.path.join(folder, *parts[start:]) for start in range(1, len(parts)))
    return next((place for place in itertools.chain([beside], ends) if os.path.exists(place)), beside)


def _named(shards: list[Shard], path: str, none: str) -> list[Shard]:
    """Check that the files exist and that none comes twice; give each a name, as short as can be."""
    if not shards:
        raise UserError(f"{path} {none}: name a folder, a pattern or a description of shards", setting="data.path")
    urls = [shard.url for shard in shards]
    for number, url in enumerate(urls):
        if not is_url(url) and not os.path.isfile(url):
            more = sum(not is_url(other) and not os.path.isfile(other) for other in urls[number + 1 :])
            also = f" and {more} more" if more else ""
            wanted = "" if url == path else f" of {path}"
            raise UserError(
                f"there is no shard {url}{also}{wanted}: correct the path, or bring it", setting="data.path"
            )
    if len(set(urls)) < len(urls):
        twice = next(url for number, url in enumerate(urls) if url in urls[:number])
        raise UserError(f"{path} lists {twice} twice: list every shard once", setting="data.path")
    names = [re.sub(r"(?i)\.tar$", "", url.partition("?")[0].rstrip("/").rpartition("/")[2]) for url in urls]
    if len(set(names)) < len(names):
        common = "" if any(map(is_url, urls)) else os.path.commonpath(urls)
        names = [re.sub(r"(?i)\.tar$", "", os.path.relpath(url, common) if common else url) for url in urls]
    return [replace(shard, name=name) for shard, name in zip(shards, names, strict=True)]
