"""Files of a data set: which there are below a folder, and which are pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

PICTURES = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    *("ppm", "pgm", "jp2", "avif", "heic", "heif"),
)
"""Extensions of pictures, the commonest first."""

MAGIC = (
    (rb"\xff\xd8\xff", "jpg"),
    (rb"\x89PNG\r\n", "png"),
    (rb"RIFF....WEBP", "webp"),
    (rb"GIF8", "gif"),
    (rb"BM", "bmp"),
    (rb"II\*\0|MM\0\*", "tif"),
    (rb"\0\0\0\x0cjP  ", "jp2"),
    (rb"....ftypavi[fs]", "avif"),
    (rb"....ftyp(hei|mif|msf)", "heic"),
    (rb"P[2356]\s", "ppm"),
)
"""How files of a kind begin."""


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder with its files, a folder before its sub-folders, all by name.

    Links to folders are followed, each folder once. Hidden files are left out: macOS puts a binary ``._name`` beside
    every file that it copies.
    """
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, sorted(name for name in files if not name.startswith("."))


def ends(name: str, suffixes: Sequence[str]) -> bool:
    """Whether a file name has one of the extensions, in small letters or capitals."""
    return name.lower().endswith(tuple(f".{suffix}" for suffix in suffixes))


def picture_kind(data: bytes) -> str:
    """The extension that belongs to a picture, by its first bytes; empty for those that nobody knows."""
    return next((kind for pattern, kind in MAGIC if re.match(pattern, data[:16], re.DOTALL)), "")
