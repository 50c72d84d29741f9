"""How many samples each shard holds: from its description, from an earlier scan, or by a scan of its headers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .tars import DamagedError, groups

if TYPE_CHECKING:
    from .finding import Shard

LOG = logging.getLogger("mindloom")
CACHE = ".mindloom-shards.json"
THREADS = 8
PAUSE = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Scan:
    """What a scan found; it holds as long as size and time of the shard stay the same."""

    bytes: int
    mtime_ns: int
    samples: int
    damage: str = ""


def counted(shards: Sequence[Shard]) -> list[Shard]:
    """Find out the counts that a description does not tell, and the sizes of local shards.

    Only headers are read, of several shards at once. The result is kept in ``.mindloom-shards.json`` beside the shards,
    or in the user's cache folder where that is impossible; it is used again while a shard's size and time of change
    stay the same. A described shard of another size than described is scanned too. Damaged shards count as far as they
    can be read, with a warning.

    Raises:
        UserError: a shard cannot be read, or is a URL without a known count.
    """
    known: dict[str, Scan] = {}
    files: dict[str, os.stat_result] = {}
    for shard in shards:
        try:
            if shard.samples is None or os.path.exists(shard.url):
                files[shard.url] = os.stat(shard.url)
        except OSError:
            raise UserError(
                f"nobody knows how many samples {shard.url} holds: say so in a description (data_info.json)",
                setting="data.path",
            ) from None
    described = {shard.url for shard in shards if _described(shard, files.get(shard.url))}
    needed = [shard.url for shard in shards if shard.url not in described]
    for folder in {os.path.dirname(url) for url in needed}:
        known.update(_kept(folder))
    fresh = [url for url in needed if not _same(known.get(url), files[url])]
    if fresh:
        known.update(_scanned(fresh))
        _keep(known, fresh)
    for url in needed:
        if known[url].damage:
            LOG.warning("%s is damaged after %d samples: %s", url, known[url].samples, known[url].damage)
    return [
        replace(shard, samples=known[shard.url].samples, bytes=known[shard.url].bytes)
        if shard.url in known and shard.url not in described
        else replace(shard, bytes=files[shard.url].st_size if shard.url in files else shard.bytes)
        for shard in shards
    ]


def scan(url: str) -> Scan:
    """Count the samples of one local shard."""
    count, damage = 0, ""
    try:
        with open(url, "rb") as file:
            stat = os.fstat(file.fileno())
            try:
                for _ in groups(file):
                    count += 1
            except DamagedError as error:
                damage = str(error)
    except OSError as error:
        raise UserError(
            f"{url} cannot be read ({error.strerror}): make it readable, or leave it out", setting="data.path"
        ) from None
    return Scan(stat.st_size, stat.st_mtime_ns, count, damage)


def _described(shard: Shard, stat: os.stat_result | None) -> bool:
    if shard.samples is None:
        return False
    if stat is None or shard.bytes in (None, stat.st_size):
        return True
    LOG.warning("%s has %d bytes, not %d as described: counting its samples", shard.url, stat.st_size, shard.bytes)
    return False


def _same(found: Scan | None, stat: os.stat_result) -> bool:
    return found is not None and (found.bytes, found.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def _scanned(urls: Sequence[str]) -> dict[str, Scan]:
    found: dict[str, Scan] = {}
    said = time.monotonic()
    LOG.info("counting the samples of %d shards", len(urls))
    with ThreadPoolExecutor(THREADS) as pool:
        futures = {pool.submit(scan, url): url for url in urls}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                if time.monotonic() - said > PAUSE:
                    said = time.monotonic()
                    LOG.info("counted %d of %d shards", len(found), len(urls))
        finally:
            pool.shutdown(cancel_futures=True)
    LOG.info("counted %d samples in %d shards", sum(each.samples for each in found.values()), len(urls))
    return found


def _places(folder: str) -> list[Path]:
    """Beside the shards, else in the user's cache folder under a name that stands for theirs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    digest = hashlib.sha256(os.path.realpath(folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return [Path(folder, CACHE), cache / "mindloom" / f"shards-{digest}.json"]


def _kept(folder: str) -> dict[str, Scan]:
    """What earlier scans of a folder left; nothing that looks wrong in it counts."""
    known = {}
    for place in reversed(_places(folder)):
        with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
            for name, entry in json.loads(place.read_text(encoding="utf-8")).items():
                found = Scan(*entry)
                if all(type(number) is int and number >= 0 for number in entry[:3]) and isinstance(found.damage, str):
                    known[os.path.join(folder, name)] = found
    return known


def _keep(known: dict[str, Scan], fresh: Iterable[str]) -> None:
    for folder in {os.path.dirname(url) for url in fresh}:
        entries = {
            os.path.basename(url): [found.bytes, found.mtime_ns, found.samples, found.damage]
            for url, found in sorted(known.items())
            if os.path.dirname(url) == folder and os.path.exists(url)
        }
        for place in _places(folder):
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                _replace(place, json.dumps(entries, indent=1))
                break


def _replace(path: Path, text: str) -> None:
    """Write all of a file or nothing: other processes may read and write it at the same time."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, 0o644)  # temporary files are private; the shards are not
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
