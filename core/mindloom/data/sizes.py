"""How large the pictures of a data set are, found out without decoding them."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import images
from ..formats import Source

if TYPE_CHECKING:
    from ..world import World

PROGRESS = 10.0
"""Seconds between lines that say how far it is."""


def size_of(source: Source, index: int, max_pixels: int = 10**12) -> tuple[int, int]:
    """Width and height of one upright picture; by the source's own way when it has one.

    Raises:
        OSError, ValueError, KeyError: the sample is broken.
    """
    own = getattr(source, "size", None)
    if own is not None:
        width, height = own(index)
        return int(width), int(height)
    return images.size_of(source[index]["image"], max_pixels)


def stamp_of(source: Source, index: int) -> str:
    """What changes when the sample does; empty when the source cannot tell."""
    own = getattr(source, "stamp", None)
    try:
        return str(own(index)) if own is not None else ""
    except (OSError, ValueError, KeyError):
        return ""


def measure(source: Source, workers: int, log: logging.Logger) -> np.ndarray:
    """Width and height of every picture, ``[n, 2]`` int32; zeros for one that cannot be read.

    What was measured before is taken from the user's cache folder, if the source has stamps and none of them changed.
    """
    known = _file(source)
    if known is not None and known.is_file():
        try:
            with np.load(known, allow_pickle=False) as saved:
                sizes: np.ndarray = saved["sizes"]
            if sizes.shape == (len(source), 2):
                again = np.flatnonzero(~sizes.any(axis=1))  # rights to read a file change without its stamp
                sizes[again] = _measure(source, again, workers, log)
                return sizes
        except (OSError, ValueError, KeyError, zlib.error):
            log.warning("%s is damaged: the pictures are measured again", known)
    sizes = _measure(source, np.arange(len(source)), workers, log)
    if known is not None:
        _keep(known, sizes, log)
    return sizes


def _measure(source: Source, indexes: np.ndarray, workers: int, log: logging.Logger) -> np.ndarray:
    began = said = time.monotonic()
    sizes = np.zeros((len(indexes), 2), np.int32)

    def one(index: int) -> tuple[int, int]:
        try:
            return size_of(source, index)
        except (OSError, ValueError, KeyError):
            return 0, 0  # met again, and put into quarantine, when its turn comes

    with ThreadPoolExecutor(workers, thread_name_prefix="mindloom-sizes") as pool:
        for first in range(0, len(indexes), 1024):  # by the thousand: futures of a million samples are memory
            part = slice(first, min(first + 1024, len(indexes)))
            sizes[part] = list(pool.map(one, indexes[part].tolist()))
            if time.monotonic() - said > PROGRESS:
                said = time.monotonic()
                rate = part.stop / (said - began)
                log.info("measured %d of %d pictures, %.0f a second", part.stop, len(indexes), rate)
    return sizes


def _file(source: Source) -> Path | None:
    """Where the sizes of exactly these samples are kept; None when the source has no stamps."""
    digest = hashlib.sha256()
    for index in range(len(source)):
        stamp = stamp_of(source, index)
        if not stamp:
            return None
        digest.update(stamp.encode() + b"\0")
    return cache_folder() / "sizes" / f"{digest.hexdigest()[:32]}.npz"


def cache_folder() -> Path:
    """Where this user keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mindloom"


def _keep(path: Path, sizes: np.ndarray, log: logging.Logger) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez_compressed(file, sizes=sizes)
        os.replace(temporary, path)
    except OSError as error:
        log.warning("sizes of pictures are not kept for the next run: %s", error)


def share(world: World, values: np.ndarray | None) -> np.ndarray:
    """The main process's array of small whole numbers, on every process."""
    text = ""
    if values is not None:
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes())).decode()
        text = json.dumps({"dtype": str(values.dtype), "shape": values.shape, "data": packed})
    told = json.loads(world.share(text))
    data = zlib.decompress(base64.b64decode(told["data"]))
    return np.frombuffer(data, np.dtype(told["dtype"])).reshape(told["shape"])
