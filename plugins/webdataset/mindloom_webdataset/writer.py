"""Writing samples as tar shards with their description."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mindloom.files import picture_kind
from mindloom.formats import RawSample
from mindloom.shards import DESCRIPTION, description

SHARD_SAMPLES = 10_000
SHARD_BYTES = 1e9
"""A shard ends when it holds so many samples or bytes."""


def extension(data: bytes) -> str:
    """The extension that belongs to a picture, by its first bytes; ``jpg`` for those that nobody knows."""
    return picture_kind(data) or "jpg"


def write(samples: Iterable[RawSample], folder: Path, caption_key: str, shard_samples: int = SHARD_SAMPLES) -> int:
    """Write ``000000.tar``, ... and ``data_info.json``; equal samples give equal bytes.

    Samples are numbered, ``000000000.jpg`` with ``000000000.json``, since ids need not be names of files. The json
    holds the caption and the id; without a ``caption_key`` the caption is in ``000000000.txt``.

    Returns:
        Number of samples written.
    """
    from webdataset import ShardWriter  # type: ignore[import-untyped]

    entries: list[dict[str, Any]] = []

    def finished(name: str) -> None:
        with open(name, "rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        entry = {"url": os.path.basename(name), "nsamples": writer.count, "md5sum": digest}
        entries.append({**entry, "filesize": os.path.getsize(name)})

    pattern = str(folder.resolve()).replace("%", "%%") + "/%06d.tar"
    writer = ShardWriter(
        pattern, shard_samples, SHARD_BYTES, post=finished, verbose=0, mtime=0, user="", group="", mode=0o644
    )
    with writer:
        for number, sample in enumerate(samples):
            writer.write({"__key__": f"{number:09d}", **_members(sample, caption_key)})
        total = writer.total
    (folder / DESCRIPTION).write_text(description(entries), encoding="utf-8")
    return int(total)


def _members(sample: RawSample, caption_key: str) -> dict[str, bytes]:
    image, caption = sample["image"], sample["caption"].encode("utf-8", "replace")
    if not caption_key:
        return {extension(image): image, "txt": caption}
    text = json.dumps({"id": sample["id"], caption_key: caption.decode()}, ensure_ascii=False)
    return {extension(image): image, "json": text.encode("utf-8", "replace")}
