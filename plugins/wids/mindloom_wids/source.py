"""The samples of tar shards, found by their number."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from mindloom.files import PICTURES
from mindloom.formats import SampleError
from mindloom.shards import Group, Shard, Walk, groups, sample_of, walk
from mindloom.shards.walk import duplicate, left_out, missing

from .library import library
from .opened import OpenShard

LOG = logging.getLogger("mindloom")


class Cache:
    """Open shards, the least recently used of which make way for others.

    Takes the place of ``wids.LRUShards``, which leaves lock files, and keeps no more than 100 shards open.
    """

    def __init__(self, lru: Any) -> None:
        self.lru = lru

    def get_shard(self, url: str) -> OpenShard:
        """The shard, which is opened when it is first read."""
        if url not in self.lru:
            self.lru[url] = OpenShard(url)
        return self.lru[url]

    def clear(self) -> None:
        """Let go of all of them."""
        self.lru.clear()


class Indexed:
    """An indexed source: ``wids`` finds shard and place of a sample and chooses the shards that stay open.

    A shard's headers are read once, when the first of its samples is asked for. After that, a sample costs its own
    headers and its own bytes; both are read outside the lock.

    Args:
        shards: local, with known numbers of samples.
        caption_key: see :func:`mindloom.shards.sample_of`.
        lru: shards that are open at a time.

    Raises:
        UserError: ``wids`` cannot be imported.
    """

    def __init__(self, shards: Sequence[Shard], caption_key: str, lru: int) -> None:
        wids = library()
        self.caption_key = caption_key
        entries = [{"url": shard.url, "nsamples": shard.samples, "shard": shard} for shard in shards]
        with contextlib.redirect_stderr(io.StringIO()):  # it tells its settings
            self.index = wids.ShardListDataset(entries, lru_size=1, localname=str, transformations=[])
        self.index.cache = Cache(wids.LRUCache(lru))
        self.lock, self.walking = threading.Lock(), threading.Lock()
        self.walks: dict[str, tuple[Walk, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return int(self.index.total_length)

    def __getitem__(self, index: int) -> dict[str, Any]:
        shard, opened, place = self._locate(index)
        with _Blame(shard, place) as blame:
            group = self._group(shard, opened, place, blame)
            return sample_of(group.key, _fields(opened, group), self.caption_key, shard)

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of the upright picture, from the beginning of its member."""
        from mindloom.images import size_of  # imports NumPy and Pillow

        shard, opened, place = self._locate(index)
        with _Blame(shard, place) as blame:
            group = self._group(shard, opened, place, blame)
            members = {member.extension: member for member in group.members}
            picture = _picture(members)
            if picture is None:
                raise ValueError(f"no picture: it has {', '.join(sorted(members))[:100]}")
            member = members[picture]
            # Whether the picture is too large to decode is not asked here.
            return size_of(opened.file(member.offset, member.size), sys.maxsize)

    def stamp(self, index: int) -> str:
        """Path, size and time of the shard, the sample's place in it, and where its caption is taken from."""
        shard, opened, place = self._locate(index)
        with _Blame(shard, place):
            facts = os.stat(opened.path)
            path = os.path.abspath(opened.path)
            return f"{path} {facts.st_size} {facts.st_mtime_ns} {place} {self.caption_key}"

    def close(self) -> None:
        """Close the shards."""
        with self.lock:
            self.index.close()

    def _locate(self, index: int) -> tuple[Shard, OpenShard, int]:
        with self.lock:
            opened, place, entry = self.index.get_shard(index)
        return entry["shard"], opened, int(place)

    def _group(self, shard: Shard, opened: OpenShard, place: int, blame: _Blame) -> Group:
        """The members of a sample. It may not share its key with another of the shard: ids tell samples apart."""
        walked, version = self._walk(shard, opened)
        if version != opened.version:
            raise ValueError("the shard changed while it was read")
        if place >= len(walked.starts):
            raise ValueError(missing(shard, len(walked.starts), walked.damage))
        group = next(groups(opened.file(), walked.starts[place]))
        blame.key = group.key
        if place in walked.again:
            raise ValueError(duplicate(group.key))
        return group

    def _walk(self, shard: Shard, opened: OpenShard) -> tuple[Walk, tuple[int, int]]:
        if opened.path not in self.walks:
            with self.walking:
                if opened.path not in self.walks:
                    self.walks[opened.path] = _walked(shard, opened)
        return self.walks[opened.path]


def _walked(shard: Shard, opened: OpenShard) -> tuple[Walk, tuple[int, int]]:
    version = opened.version
    found = walk(opened.file(), shard)
    if found.extra:
        LOG.warning("%s", left_out(shard))
    return found, version


def _picture(members: Any) -> str | None:
    return next((kind for kind in PICTURES if kind in members), None)


def _fields(opened: OpenShard, group: Group) -> dict[str, bytes]:
    """The members by extension. Those that make no sample are not read."""
    kinds = [member.extension for member in group.members]
    wanted = {_picture(kinds), "json", "txt"}
    fields: dict[str, bytes] = {}
    for kind, offset, size in group.members:
        if kind in fields:
            raise ValueError(f"duplicate members: the sample {group.key[:200]!r} has two .{kind}")
        fields[kind] = opened.read(offset, size) if kind in wanted else b""
    return fields


class _Blame:
    """Gives errors the id and the place of a sample: its key once that is known, its number until then."""

    def __init__(self, shard: Shard, place: int) -> None:
        self.shard, self.key = shard, f"#{place}"

    def __enter__(self) -> _Blame:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, SampleError):
            return
        id, where = f"{self.shard.name}/{self.key.removeprefix('./')}", f"{self.shard.url}: {self.key}"
        if isinstance(error, OSError):
            raise SampleError(f"the shard cannot be read: {error.strerror or error}", id, where) from None
        if isinstance(error, ValueError | StopIteration):
            raise SampleError(str(error) or "the shard changed while it was read", id, where) from None
